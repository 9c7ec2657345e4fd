"""Traffic policies, addresses and ports of Services: what was asked for and is not what was meant.

Stage: decide.  In: Picture, a Service.  Out: Findings.
Rules: pure.
Truth: core/v1 ServiceSpec; policy Local drops on a node without an endpoint of its own; two Services with one frontend:
the older one has it.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.api.endpointslice import is_ready as is_ready_endpoint
from clusterip.api.meta import Tree, key_of, name_of, namespace_of, spec_of
from clusterip.explain.commands import patched, removed
from clusterip.explain.endpoints import endpoints_of
from clusterip.explain.finding import Finding, Severity, listed
from clusterip.explain.picture import NODE_PORTS, Picture, protocol_of
from clusterip.explain.pods import is_over, is_ready


def check(picture: Picture, service: Tree) -> Iterator[Finding]:
    if spec_of(service).get("type") == "ExternalName":
        return
    yield from _local(picture, service)
    yield from _not_ready(picture, service)
    yield from _node_ports(picture, service)
    yield from _shared_addresses(picture, service)
    yield from _affinity(picture, service)


def ready_nodes(picture: Picture, service: Tree) -> set[str]:
    """The nodes that have a ready endpoint of a Service."""
    return {
        each.get("nodeName") or "" for each in endpoints_of(picture.slices_of(service)) if is_ready_endpoint(each)
    } - {""}


def _local(picture: Picture, service: Tree) -> Iterator[Finding]:
    spec, here = spec_of(service), ready_nodes(picture, service)
    without = sorted(set(picture.nodes_by_name) - here)
    if not here or not without:
        return
    about, evidence = f"Service {key_of(service)}", (f"ready endpoints are on {listed(sorted(here))} alone",)
    if spec.get("internalTrafficPolicy") == "Local":
        what = f"internalTrafficPolicy Local: pods on {listed(without)} reach nobody, their packets are dropped"
        fix = patched("service", service, {"internalTrafficPolicy": "Cluster"})
        yield Finding(Severity.SUSPECT, "internal-policy-local", about, what, evidence, (fix,))
    if spec.get("externalTrafficPolicy") != "Local":
        return
    is_balancer = spec.get("type") == "LoadBalancer"
    how = "a load balancer must not send there" if is_balancer else "their node ports answer nobody from outside"
    what = f"externalTrafficPolicy Local: {listed(without)} have no endpoint of their own, {how}"
    fix = patched("service", service, {"externalTrafficPolicy": "Cluster"})
    severity = Severity.NOTE if is_balancer else Severity.SUSPECT
    yield Finding(severity, "external-policy-local", about, what, evidence, (fix,))


def _not_ready(picture: Picture, service: Tree) -> Iterator[Finding]:
    if not spec_of(service).get("publishNotReadyAddresses"):
        return
    unready = [name_of(pod) for pod in picture.pods_of(service) if not is_ready(pod) and not is_over(pod)]
    if unready:
        yield Finding(
            Severity.SUSPECT,
            "publishes-not-ready",
            f"Service {key_of(service)}",
            f"publishNotReadyAddresses sends traffic to pods that are not ready: {listed(unready)}",
            ("spec.publishNotReadyAddresses true",),
            (patched("service", service, {"publishNotReadyAddresses": False}),),
        )


# -- node ports --------------------------------------------------------------------------------------------------------


def _node_ports(picture: Picture, service: Tree) -> Iterator[Finding]:
    for index, port in enumerate(spec_of(service).get("ports") or ()):
        number = port.get("nodePort") or 0
        if number:
            yield from _out_of_range(picture, service, index, number)
            yield from _claimed(picture, service, index, number, protocol_of(port))
    for event in picture.warnings("Service", service)[:1]:
        if event.get("reason") in ("PortOutOfRange", "PortAlreadyAllocated", "PortNotAllocated"):
            evidence = (f"event {event['reason']}: {event.get('message')}",)
            what = "the API server does not hold its node port for it"
            yield Finding(Severity.SUSPECT, "node-port-not-held", f"Service {key_of(service)}", what, evidence)


def _unset(service: Tree, index: int) -> str:
    return removed(service, f"/spec/ports/{index}/nodePort")


def _out_of_range(picture: Picture, service: Tree, index: int, number: int) -> Iterator[Finding]:
    known = picture.evidence.node_ports
    first, last = known or NODE_PORTS
    if first <= number <= last:
        return
    says = "the API server's range is" if known else "a hint: the usual range is"
    yield Finding(
        Severity.SUSPECT,
        "node-port-out-of-range",
        f"Service {key_of(service)}",
        f"node port {number} is out of the range of node ports",
        (f"{says} {first}-{last}",),
        (_unset(service, index),),
    )


def _claimed(picture: Picture, service: Tree, index: int, number: int, protocol: str) -> Iterator[Finding]:
    about = f"Service {key_of(service)}"
    others = [tree for tree in picture.node_port_users.get((number, protocol), ()) if tree is not service]
    older = [tree for tree in others if _age(tree) < _age(service)]
    if older:
        what = f"node port {number}/{protocol} belongs to another Service, which gets all of its traffic"
        evidence: tuple[str, ...] = (f"Service {key_of(older[0])} is older",)
        yield Finding(Severity.BROKEN, "node-port-taken", about, what, evidence, (_unset(service, index),))
    holders = picture.host_port_users.get((number, protocol), ())
    if holders:
        what = f"pod {key_of(holders[0])} has the same number as hostPort: one of the two hides the other"
        evidence = (f"hostPort {number}/{protocol} of {listed(map(name_of, holders))}",)
        yield Finding(Severity.SUSPECT, "node-port-host-port", about, what, evidence, (_unset(service, index),))
    for node, seen in picture.evidence.nodes.items():
        if any(each.port == number and each.protocol == protocol.lower() for each in seen.sockets):
            what = f"a process of node {node} listens on {number}/{protocol}, which the node port hides"
            evidence = (f"a socket on {node}: {number}/{protocol.lower()}",)
            yield Finding(Severity.SUSPECT, "node-port-listener", about, what, evidence, (_unset(service, index),))
            return


def _age(tree: Tree) -> tuple[str, str, str]:
    return tree["metadata"].get("creationTimestamp") or "", *key_of(tree)


# -- addresses and affinity --------------------------------------------------------------------------------------------


def _shared_addresses(picture: Picture, service: Tree) -> Iterator[Finding]:
    for port in spec_of(service).get("ports") or ():
        for address in spec_of(service).get("externalIPs") or ():
            users = picture.external_ip_users.get((address, port.get("port"), protocol_of(port)), ())
            older = [tree for tree in users if tree is not service and _age(tree) < _age(service)]
            if older:
                what = f"external IP {address}:{port.get('port')} belongs to Service {key_of(older[0])}, which is older"
                fix = f"kubectl -n {namespace_of(service)} edit service {name_of(service)}   # another spec.externalIPs"
                about, evidence = f"Service {key_of(service)}", ("both have it in spec.externalIPs",)
                yield Finding(Severity.BROKEN, "external-ip-taken", about, what, evidence, (fix,))


def _affinity(picture: Picture, service: Tree) -> Iterator[Finding]:
    """Who sits behind one address is one client for the proxy."""
    if spec_of(service).get("sessionAffinity") != "ClientIP" or spec_of(service).get("type") == "ClusterIP":
        return
    yield Finding(
        Severity.NOTE,
        "affinity-behind-nat",
        f"Service {key_of(service)}",
        "session affinity is by client address: all clients behind one NAT go to one pod",
        ("sessionAffinity ClientIP",),
        ("# for HTTP an Ingress with cookie affinity tells them apart",),
    )
