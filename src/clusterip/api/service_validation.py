"""What is wrong with a Service, in kube-apiserver's words.

Stage: none; pure checks.  In: a Service, defaulted, prepared and allocated, and the one before.  Out: field errors.
Rules: values that the stored object has already are not refused again (addresses and networks of older, sloppier days).
Truth: pkg/apis/core/validation, answers recorded from 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import names
from clusterip.api.addresses import balancers_of
from clusterip.api.checks import each, label_map, number_or_name, qualified, reasons, supported, supported_if_set
from clusterip.api.errors import FieldError, duplicate, forbidden, internal_fault, invalid, required
from clusterip.api.meta import Tree, annotations_of, spec_of
from clusterip.api.service import (
    HEADLESS,
    TOPOLOGY_HINTS,
    TOPOLOGY_MODE,
    cluster_ips_of,
    is_externally_accessible,
    is_headless,
    needs_health_check_port,
    ports_of,
    type_of,
)

SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
NOT_EXTERNAL_NAME = "may not be set for ExternalName services"
FIXED = "may not change once set"


def validate(service: Tree) -> list[FieldError]:
    return _validate(service, None)


def validate_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _cluster_ips_update(new, old) + _families_update(new, old)
    found += _class(new, old)
    if needs_health_check_port(old) and needs_health_check_port(new):
        field = "healthCheckNodePort"
        if spec_of(new).get(field) != spec_of(old).get(field):
            found.append(forbidden(f"spec.{field}", names.IMMUTABLE))
    return found + _validate(new, old)


def _validate(service: Tree, old: Tree | None) -> list[FieldError]:
    spec = spec_of(service)
    before = spec_of(old or {})
    return [
        *_topology(service),
        *_by_type(service),
        *_ports(spec.get("ports") or []),
        *label_map("spec.selector", spec.get("selector") or {}),
        *_affinity(spec),
        *cluster_ip_errors(service, old),
        *_external_ips(spec.get("externalIPs") or [], before.get("externalIPs") or []),
        *supported("spec.type", spec.get("type"), TYPES),
        *_port_numbers(service),
        *_source_ranges(service, before.get("loadBalancerSourceRanges") or []),
        *_load_balancer(service),
        *_external_traffic(service),
        *_internal_traffic(spec),
        *_distribution(spec),
    ]


def _topology(service: Tree) -> list[FieldError]:
    annotations = annotations_of(service)
    mode, hints = annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS)
    if mode is None or hints is None or mode == hints:
        return []
    detail = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
    return [invalid(f"metadata.annotations[{TOPOLOGY_MODE}]", mode, detail)]


def _by_type(service: Tree) -> list[FieldError]:
    spec, kind = spec_of(service), type_of(service)
    found = []
    if not spec.get("ports") and not is_headless(service) and kind != "ExternalName":
        found.append(required("spec.ports"))
    if kind in ("LoadBalancer", "NodePort") and is_headless(service):
        found.append(invalid("spec.clusterIPs[0]", HEADLESS, f"may not be set to 'None' for {kind} services"))
    return found + (_external_name(spec) if kind == "ExternalName" else [])


def _external_name(spec: Tree) -> list[FieldError]:
    found = [
        forbidden(f"spec.{field}", NOT_EXTERNAL_NAME)
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(field) not in (None, [])
    ]
    name = (spec.get("externalName") or "").removesuffix(".")
    found += reasons("spec.externalName", name, names.subdomain) if name else [required("spec.externalName")]
    return found


# --- ports -----------------------------------------------------------------------------------------------------------


def _ports(ports: list[Tree]) -> list[FieldError]:
    seen: set[str] = set()
    return [error for path, port in each("spec.ports", ports) for error in _port(path, port, len(ports) > 1, seen)]


def _port(path: str, port: Tree, needs_name: bool, seen: set[str]) -> list[FieldError]:
    name = port.get("name") or ""
    found = []
    if name:
        found += reasons(f"{path}.name", name, names.label)
        if name in seen:
            found.append(duplicate(f"{path}.name", name))
        seen.add(name)
    elif needs_name:
        found.append(required(f"{path}.name"))
    found += reasons(f"{path}.port", port.get("port", 0), names.port_number)
    found += supported(f"{path}.protocol", port.get("protocol"), PROTOCOLS)
    found += number_or_name(f"{path}.targetPort", port.get("targetPort", 0))
    if port.get("appProtocol") is not None:
        found += qualified(f"{path}.appProtocol", port["appProtocol"])
    return found


def _port_numbers(service: Tree) -> list[FieldError]:
    """Node ports only where they mean something; no two ports alike."""
    found = []
    if type_of(service) == "ClusterIP":
        detail = "may not be used when `type` is 'ClusterIP'"
        ports = each("spec.ports", ports_of(service))
        found += [forbidden(f"{path}.nodePort", detail) for path, port in ports if port.get("nodePort")]
    return found + _twice(service, "nodePort") + _twice(service, "port")


def _twice(service: Tree, field: str) -> list[FieldError]:
    seen: set[tuple[Any, Any]] = set()
    found = []
    for path, port in each("spec.ports", ports_of(service)):
        key = (port.get("protocol"), port.get(field) or 0)
        if key in seen and field == "nodePort" and key[1]:
            found.append(duplicate(f"{path}.nodePort", key[1]))
        elif key in seen and field == "port":
            found.append(duplicate(path, _shown_port(*key)))
        seen.add(key)
    return found


def _shown_port(protocol: str, port: int) -> Tree:
    """A port as upstream's message shows the part of it that is there twice."""
    empty = {"TargetPort": 0, "NodePort": 0}
    return {"Name": "", "Protocol": protocol, "AppProtocol": None, "Port": port, **empty}


# --- addresses -------------------------------------------------------------------------------------------------------


def cluster_ip_errors(service: Tree, old: Tree | None) -> list[FieldError]:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy among each other. Also asked before addresses are chosen."""
    if type_of(service) == "ExternalName":
        return []
    spec = spec_of(service)
    found = _ips_agree(spec) + _family_errors(spec)
    malformed = _ip_forms(cluster_ips_of(service), cluster_ips_of(old or {}))
    found += malformed
    if len(cluster_ips_of(service)) > 2:
        found.append(invalid("spec.clusterIPs", cluster_ips_of(service), "may only hold up to 2 values"))
    if malformed:
        return found
    return found + _ips_by_family(service)


def _ips_agree(spec: Tree) -> list[FieldError]:
    one, all_of_them = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if one and not all_of_them:
        return [required("spec.clusterIPs")]
    if one and all_of_them[0] != one:
        return [invalid("spec.clusterIPs", all_of_them, "first value must match `clusterIP`")]
    if not one and all_of_them:
        return [invalid("spec.clusterIPs", all_of_them, "must be empty when `clusterIP` is not specified")]
    return []


def _family_errors(spec: Tree) -> list[FieldError]:
    found = []
    families = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        found += supported_if_set(f"spec.ipFamilies[{index}]", family, FAMILIES)
        if family in families[:index]:
            found.append(duplicate(f"spec.ipFamilies[{index}]", family))
    return found + supported_if_set("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), FAMILY_POLICIES)


def _ip_forms(ips: list[str], stored: list[str]) -> list[FieldError]:
    found = []
    for index, ip in enumerate(ips):
        if index == 0 and ip == HEADLESS:
            if len(ips) > 1:
                found.append(invalid("spec.clusterIPs", ips, "'None' must be the first and only value"))
        elif ip not in stored:
            found += reasons(f"spec.clusterIPs[{index}]", ip, names.address)
    return found


def _ips_by_family(service: Tree) -> list[FieldError]:
    ips, families = cluster_ips_of(service), spec_of(service).get("ipFamilies") or []
    versions = [parsed.version for ip in ips if (parsed := names.parse_address(ip))]
    found = []
    if len(ips) > 1 and HEADLESS in ips:
        detail = f"failed to check for dual stack with error:invalid IP[{ips.index(HEADLESS)}]: {HEADLESS}"
        found.append(internal_fault("spec.clusterIPs", detail))
    if len(ips) > 1 and set(versions) != {4, 6}:
        found.append(invalid("spec.clusterIPs", ips, "may specify no more than one IP for each IP family"))
    if is_headless(service):
        return found
    for index, (ip, version, family) in enumerate(zip(ips, versions, families, strict=False)):
        if family != f"IPv{version}" and family in FAMILIES:
            detail = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            found.append(invalid(f"spec.clusterIPs[{index}]", ip, detail))
    return found


def _cluster_ips_update(new: Tree, old: Tree) -> list[FieldError]:
    if "ExternalName" in (type_of(new), type_of(old)) or (is_headless(old) and is_headless(new)):
        return []
    ips, before = cluster_ips_of(new), cluster_ips_of(old)
    if len(ips) == len(before):
        changed = [index for index, ip in enumerate(before) if ip != ips[index]]
        return [invalid(f"spec.clusterIPs[{index}]", ips, FIXED) for index in changed]
    found = []
    if not ips:
        found.append(invalid("spec.clusterIPs[0]", ips, "primary clusterIP can not be unset"))
    elif before and ips[0] != before[0]:
        found.append(invalid("spec.clusterIPs[0]", ips, FIXED))
    policy = spec_of(new).get("ipFamilyPolicy")
    if len(before) > len(ips) == 1 and policy != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        found.append(invalid("spec.ipFamilyPolicy", policy, detail))
    return found


def _families_update(new: Tree, old: Tree) -> list[FieldError]:
    if "ExternalName" in (type_of(new), type_of(old)) or is_headless(new) or is_headless(old):
        return []
    families, before = spec_of(new).get("ipFamilies") or [], spec_of(old).get("ipFamilies") or []
    path = "spec.ipFamilies[0]"
    if len(families) == len(before):
        return [invalid(path, families, FIXED) for index, family in enumerate(before) if family != families[index]]
    found = []
    if len(before) > len(families) and not cluster_ips_of(new):
        found.append(invalid(path, families, "primary ipFamily can not be unset"))
    if families and before and families[0] != before[0]:
        found.append(invalid(path, cluster_ips_of(new), FIXED))
    policy = spec_of(new).get("ipFamilyPolicy")
    if len(before) > len(families) == 1 and policy != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        found.append(invalid("spec.ipFamilyPolicy", policy, detail))
    return found


def _external_ips(ips: list[str], stored: list[str]) -> list[FieldError]:
    found = []
    for index, ip in enumerate(ips):
        path = f"spec.externalIPs[{index}]"
        malformed = [] if ip in stored else reasons(path, ip, names.address)
        found += malformed or reasons(path, ip, names.not_for_endpoints)
    return found


def _source_ranges(service: Tree, stored: list[str]) -> list[FieldError]:
    spec, annotation = spec_of(service), annotations_of(service).get(SOURCE_RANGES)
    wrong_type = type_of(service) != "LoadBalancer"
    if spec.get("loadBalancerSourceRanges"):
        path, before = "spec.LoadBalancerSourceRanges", {value.strip() for value in stored}
        found = [forbidden(path, ONLY_LOAD_BALANCER)] if wrong_type else []
        for index, value in enumerate(spec["loadBalancerSourceRanges"]):
            found += [] if value.strip() in before else reasons(f"{path}[{index}]", value.strip(), names.network)
        return found
    if annotation is None:
        return []
    path = f"metadata.annotations[{SOURCE_RANGES}]"
    found = [forbidden(path, ONLY_LOAD_BALANCER)] if wrong_type else []
    for value in annotation.strip().split(",") if annotation.strip() else []:
        found += reasons(path, value.strip(), names.network)
    return found


# --- the rest --------------------------------------------------------------------------------------------------------


def _affinity(spec: Tree) -> list[FieldError]:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    path = "spec.sessionAffinityConfig"
    found = supported("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    if affinity == "None" and config is not None:
        found.append(forbidden(path, "must not be set when session affinity is None"))
    if affinity == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            found.append(required(path, "when session affinity type is ClientIP"))
        elif not 0 < seconds <= 86400:
            detail = "must be greater than 0 and less than 86400"
            found.append(invalid(f"{path}.clientIP.timeoutSeconds", seconds, detail))
    return found


def _load_balancer(service: Tree) -> list[FieldError]:
    spec, is_balancer = spec_of(service), type_of(service) == "LoadBalancer"
    found = []
    if spec.get("allocateLoadBalancerNodePorts") is not None and not is_balancer:
        found.append(forbidden("spec.allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCER))
    if spec.get("allocateLoadBalancerNodePorts") is None and is_balancer:
        found.append(required("allocateLoadBalancerNodePorts"))
    return found + _class(service, None)


def _class(service: Tree, old: Tree | None) -> list[FieldError]:
    """Asked once of the update and once of the object, so that an update may hear it twice."""
    path, named = "spec.loadBalancerClass", spec_of(service).get("loadBalancerClass")
    found = []
    both = old is not None and type_of(old) == type_of(service) == "LoadBalancer"
    if both and named != spec_of(old or {}).get("loadBalancerClass"):
        found.append(invalid(path, named, FIXED))
    if named is None:
        return found
    return found + (
        qualified(path, named) if type_of(service) == "LoadBalancer" else [forbidden(path, ONLY_LOAD_BALANCER)]
    )


def _external_traffic(service: Tree) -> list[FieldError]:
    spec = spec_of(service)
    policy, port = spec.get("externalTrafficPolicy") or "", spec.get("healthCheckNodePort") or 0
    found = []
    if is_externally_accessible(service):
        found += supported("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    elif policy:
        detail = "may only be set for externally-accessible services"
        found.append(invalid("spec.externalTrafficPolicy", policy, detail))
    if not needs_health_check_port(service):
        if port:
            detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            found.append(invalid("spec.healthCheckNodePort", port, detail))
    elif not port:
        found.append(required("spec.healthCheckNodePort"))
    else:
        found += reasons("spec.healthCheckNodePort", port, names.port_number)
    return found


def _internal_traffic(spec: Tree) -> list[FieldError]:
    path, policy = "spec.internalTrafficPolicy", spec.get("internalTrafficPolicy")
    if policy is None and spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer"):
        return [required(path)]
    return supported_if_set(path, policy, ("Cluster", "Local"))


def _distribution(spec: Tree) -> list[FieldError]:
    return supported_if_set("spec.trafficDistribution", spec.get("trafficDistribution"), DISTRIBUTIONS)


def validate_status(new: Tree, old: Tree) -> list[FieldError]:
    shown, stored = balancers_of(new), [ingress.get("ip") for ingress in balancers_of(old)]
    path = "status.loadBalancer.ingress"
    if shown and type_of(new) != "LoadBalancer":
        return [forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    ingresses = each(path, shown)
    return [error for where, ingress in ingresses for error in _ingress(where, ingress, stored)]


def _ingress(path: str, ingress: Tree, stored: list[Any]) -> list[FieldError]:
    ip, mode, host = ingress.get("ip") or "", ingress.get("ipMode"), ingress.get("hostname") or ""
    found = reasons(f"{path}.ip", ip, names.address) if ip and ip not in stored else []
    if ip and mode is None:
        found.append(required(f"{path}.ipMode", "must be specified when `ip` is set"))
    elif mode is not None and not ip:
        found.append(forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set"))
    else:
        found += supported_if_set(f"{path}.ipMode", mode, ("Proxy", "VIP"))
    if host:
        found += reasons(f"{path}.hostname", host, names.subdomain)
        if names.parse_address(host):
            found.append(invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address"))
    return found
