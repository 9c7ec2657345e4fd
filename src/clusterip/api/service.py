"""What a Service becomes before it is judged: defaults, what an update keeps, what a change of type drops, warnings.

Stage: none; pure changes of trees, in place.  In: the written tree and the one before it.  Out: the tree to validate.
Rules: no address or port is chosen here; that is `allocation`, which runs after these and before the validation.
Truth: kube-apiserver's defaults and Service strategy of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api.address_warnings import address_warning, network_warning
from clusterip.api.meta import Tree, annotations_of, copied, spec_of

HEADLESS = "None"
TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
AFFINITY_SECONDS = 10800


def ports_of(service: Tree) -> list[Tree]:
    found: list[Tree] = spec_of(service).get("ports") or []
    return found


def type_of(service: Tree) -> str:
    return spec_of(service).get("type") or ""


def cluster_ips_of(service: Tree) -> list[str]:
    found: list[str] = spec_of(service).get("clusterIPs") or []
    return found


def is_headless(service: Tree) -> bool:
    return cluster_ips_of(service) == [HEADLESS]


def needs_cluster_ip(service: Tree) -> bool:
    return type_of(service) != "ExternalName"


def needs_node_ports(service: Tree) -> bool:
    return type_of(service) in ("NodePort", "LoadBalancer")


def _is_given_node_ports(service: Tree) -> bool:
    return needs_node_ports(service) and (
        type_of(service) != "LoadBalancer" or spec_of(service).get("allocateLoadBalancerNodePorts") is not False
    )


def needs_health_check_port(service: Tree) -> bool:
    return type_of(service) == "LoadBalancer" and spec_of(service).get("externalTrafficPolicy") == "Local"


def is_externally_accessible(service: Tree) -> bool:
    return needs_node_ports(service) or (type_of(service) == "ClusterIP" and bool(spec_of(service).get("externalIPs")))


def node_ports_of(service: Tree) -> list[int]:
    """The node ports of its ports, without the one of the health check."""
    return [port["nodePort"] for port in ports_of(service) if port.get("nodePort")]


# --- defaults --------------------------------------------------------------------------------------------------------


def default(service: Tree) -> None:
    spec = service.setdefault("spec", {})
    _default_affinity(spec)
    spec["type"] = spec.get("type") or "ClusterIP"
    for port in spec.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if is_externally_accessible(service) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    _default_status(service)


def _default_affinity(spec: Tree) -> None:
    affinity = spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        config = spec.get("sessionAffinityConfig") or {}
        if (config.get("clientIP") or {}).get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}


def _default_status(service: Tree) -> None:
    balancer = service.setdefault("status", {}).setdefault("loadBalancer", {})
    if type_of(service) != "LoadBalancer":
        return
    for ingress in balancer.get("ingress") or ():
        if ingress.get("ip"):
            ingress.setdefault("ipMode", "VIP")


# --- strategy --------------------------------------------------------------------------------------------------------


def prepare_create(service: Tree) -> None:
    service["status"] = {"loadBalancer": {}}
    spec = service["spec"]
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def prepare_update(new: Tree, old: Tree) -> None:
    new["status"] = old.get("status") or {"loadBalancer": {}}
    new["spec"] = copied(new["spec"])  # a patched one may share its ports with the old one
    _keep_addresses(new, old)
    _keep_node_ports(new, old)
    _agree_on_cluster_ips(new["spec"], spec_of(old))


def _keep_addresses(new: Tree, old: Tree) -> None:
    """An update that does not name what was allocated means to keep it."""
    if not (needs_cluster_ip(old) and needs_cluster_ip(new)):
        return
    spec, before = new["spec"], spec_of(old)
    if not spec.get("clusterIP") and before.get("clusterIP"):
        spec["clusterIP"] = before["clusterIP"]
    if not spec.get("clusterIPs") and before.get("clusterIPs"):
        spec["clusterIPs"] = list(before["clusterIPs"])


def _keep_node_ports(new: Tree, old: Tree) -> None:
    """Ports are recognised by their name; a number that another port now asks for is not given twice."""
    if _is_given_node_ports(old) and _is_given_node_ports(new):
        used = set(node_ports_of(old)) & set(node_ports_of(new))
        known = {port.get("name", ""): port.get("nodePort", 0) for port in ports_of(old)}
        for port in ports_of(new):
            former = known.get(port.get("name", ""), 0)
            if not port.get("nodePort") and former and former not in used:
                port["nodePort"] = former
    if needs_health_check_port(old) and needs_health_check_port(new) and not new["spec"].get("healthCheckNodePort"):
        new["spec"]["healthCheckNodePort"] = spec_of(old).get("healthCheckNodePort", 0)


def _agree_on_cluster_ips(spec: Tree, before: Tree) -> None:
    """clusterIP and clusterIPs say the same twice; a client that knows but one of them shall not have to know both."""
    new_ip, old_ip = spec.get("clusterIP") or "", before.get("clusterIP") or ""
    new_ips, old_ips = spec.get("clusterIPs") or [], before.get("clusterIPs") or []
    if old_ips and not new_ips and old_ip == new_ip:
        spec["clusterIPs"] = new_ips = list(old_ips)
    if old_ip == new_ip or new_ips != old_ips:
        return
    if new_ip:
        spec["clusterIPs"] = [new_ip]
    else:
        spec.pop("clusterIPs", None)


def drop_what_the_type_has_not(new: Tree, old: Tree) -> None:
    """Fields that the new type has no use for go, as long as the writer did not change them as well.

    Asked after the allocation, which looks at what was and is.
    """
    spec, before = new["spec"], spec_of(old)
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        if _same(spec, before, "clusterIP") and _same(spec, before, "clusterIPs"):
            _drop(spec, "clusterIP", "clusterIPs")
        _drop_same(spec, before, "ipFamilies", "ipFamilyPolicy")
    if needs_node_ports(old) and not needs_node_ports(new) and set(node_ports_of(new)) <= set(node_ports_of(old)):
        for port in ports_of(new):
            port.pop("nodePort", None)
    if needs_health_check_port(old) and not needs_health_check_port(new):
        _drop_same(spec, before, "healthCheckNodePort")
    if type_of(old) == "LoadBalancer" and type_of(new) != "LoadBalancer":
        _drop_same(spec, before, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if is_externally_accessible(old) and not is_externally_accessible(new):
        _drop_same(spec, before, "externalTrafficPolicy")
    if type_of(new) != "LoadBalancer":
        new["status"] = {**new["status"], "loadBalancer": {}}


def _same(spec: Tree, before: Tree, field: str) -> bool:
    return (spec.get(field) or None) == (before.get(field) or None)


def _drop(spec: Tree, *fields: str) -> None:
    for field in fields:
        spec.pop(field, None)


def _drop_same(spec: Tree, before: Tree, *fields: str) -> None:
    for field in fields:
        if spec.get(field) == before.get(field):
            spec.pop(field, None)


def kept(service: Tree) -> Tree:
    """A valid Service as it is kept: one that is but a name has no policy, though it may be written with one."""
    if type_of(service) != "ExternalName" or "internalTrafficPolicy" not in spec_of(service):
        return service
    spec = {name: value for name, value in spec_of(service).items() if name != "internalTrafficPolicy"}
    return {**service, "spec": spec}


# --- warnings and selectors ------------------------------------------------------------------------------------------


def warnings(new: Tree, old: Tree | None) -> list[str]:
    """What a valid Service is told beside success."""
    spec = spec_of(new)
    found = []
    if TOPOLOGY_HINTS in annotations_of(new):
        found.append(f"annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead")
    if not is_headless(new):
        found += _address_warnings("spec.clusterIPs", cluster_ips_of(new))
    if type_of(new) == "ClusterIP" and is_headless(new):
        found += _headless_warnings(spec)
    external = spec.get("externalIPs") or []
    found += _address_warnings("spec.externalIPs", external)
    if external and type_of(new) != "ExternalName" and not (type_of(new) == "ClusterIP" and is_headless(new)):
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("loadBalancerIP"):
        found += address_warning("spec.loadBalancerIP", spec["loadBalancerIP"])
    for index, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += network_warning(f"spec.loadBalancerSourceRanges[{index}]", text)
    if type_of(new) == "ExternalName" and external:
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if type_of(new) != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def _headless_warnings(spec: Tree) -> list[str]:
    checks = (
        (spec.get("loadBalancerIP"), "spec.loadBalancerIP"),
        (spec.get("externalIPs"), "spec.externalIPs"),
        (spec.get("sessionAffinity") != "None", "spec.SessionAffinity"),
    )
    return [f"{field} is ignored for headless services" for present, field in checks if present]


def _address_warnings(path: str, values: list[str]) -> list[str]:
    return [text for index, value in enumerate(values) for text in address_warning(f"{path}[{index}]", value)]


def field(name: str) -> Any:
    """A reader of one field of the spec, for field selectors."""
    return lambda service: str(spec_of(service).get(name) or "")
