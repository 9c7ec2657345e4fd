"""NetworkPolicies that let nobody in, keep pods from asking DNS, or are enforced by nobody.

Stage: decide.  In: Picture.  Out: Findings; `verdict` and `blame` for one packet.
Rules: pure; every verdict is policy.decide's.  Who could come is tried with the pods that there are, one of each kind,
and with an address of the world.
Truth: networking.k8s.io/v1: policies add up; both ends are asked, each on its pod's node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address

from clusterip.api.meta import ObjectKey, Tree, key_of, name_of, namespace_of, spec_of
from clusterip.explain import system
from clusterip.explain.commands import applied
from clusterip.explain.finding import Finding, Severity, listed
from clusterip.explain.picture import SYSTEM, Picture, protocol_of
from clusterip.explain.pods import is_ready
from clusterip.explain.ports import number_for
from clusterip.policy import plan
from clusterip.policy.model import Direction, IPAddress, Node, Packet, Pod, Policy
from clusterip.policy.model import Picture as Policies
from clusterip.policy.reading import labels_of as pairs_of
from clusterip.policy.reading import read_node, read_pod, read_policy

ENFORCERS = (
    "network-policies",
    "calico-node",
    "cilium",
    "antrea-agent",
    "kube-router",
    "weave-net",
    "canal",
    "kindnet",
    "ovnkube-node",
)
WORLD = ip_address("198.51.100.1")  # RFC 5737: nobody's
MOST_KINDS = 200


def check(picture: Picture) -> Iterator[Finding]:
    if not picture.networkpolicies:
        return
    enforcers = [name_of(tree) for tree in picture.daemonsets if name_of(tree) in ENFORCERS]
    if picture.evidence.is_own and not enforcers:
        yield _nobody_enforces(picture)
        return
    policies = read(picture)
    yield from _faults(policies)
    yield from _services(picture, policies)
    yield from _names(picture, policies)


def _nobody_enforces(picture: Picture) -> Finding:
    names = listed(str(key_of(tree)) for tree in picture.networkpolicies)
    return Finding(
        Severity.SUSPECT,
        "policies-not-enforced",
        "Cluster",
        f"NetworkPolicies are there ({names}) and nobody enforces them: all pods may speak with all",
        (f"no DaemonSet network-policies in {SYSTEM}",),
        ("clusterip down && clusterip up --network-policy",),
    )


# -- verdicts ----------------------------------------------------------------------------------------------------------


def read(picture: Picture) -> Policies:
    """All pods and policies as the policy agent sees them."""
    pods: dict[IPAddress, Pod] = {}
    found = [pod for tree in picture.pods if (pod := read_pod(tree))]
    for pod in sorted(found, key=lambda each: each.created):
        pods |= dict.fromkeys(pod.addresses, pod)
    namespaces = {name_of(tree): pairs_of(tree) for tree in picture.namespaces}
    policies = {policy.key: policy for policy in map(read_policy, picture.networkpolicies)}
    return Policies(Node(""), pods, namespaces, policies)


def verdict(policies: Policies, packet: Packet, nodes: Mapping[str, Tree]) -> str:
    """Empty when the packet passes; else which policies are against it, at which end."""
    for direction, end in ((Direction.EGRESS, packet.source), (Direction.INGRESS, packet.destination)):
        pod = policies.pods.get(end)
        if pod is None:
            continue
        addresses = read_node(nodes[pod.node]).addresses if pod.node in nodes else frozenset()
        node = Node(pod.node, addresses)  # without its pods' range: the other end counts as of elsewhere
        if not plan.decide(replace(_one_end(policies, packet, end), node=node), packet):
            return blame(policies, pod, direction)
    return ""


def _one_end(policies: Policies, packet: Packet, end: IPAddress) -> Policies:
    """Only this end's policies, though both pods may be of one node."""
    other = packet.source if end == packet.destination else packet.destination
    pod = policies.pods.get(other)
    if pod is None:
        return policies
    return replace(policies, pods={**policies.pods, other: replace(pod, node="\0elsewhere")})


def blame(policies: Policies, pod: Pod, direction: Direction) -> str:
    """The policies that isolate a pod, in words."""
    names = [str(policy.key) for policy in plan.selecting(policies, pod, direction)]
    side = "into" if direction is Direction.INGRESS else "out of"
    return f"NetworkPolicy {listed(names)} lets it not {side} pod {pod.key}"


# -- findings ----------------------------------------------------------------------------------------------------------


def _faults(policies: Policies) -> Iterator[Finding]:
    for policy in policies.policies.values():
        if policy.fault:
            yield Finding(
                Severity.BROKEN,
                "policy-unreadable",
                f"NetworkPolicy {policy.key}",
                "it cannot be understood, so the pods that it selects get and send nothing",
                (policy.fault,),
                (f"kubectl -n {policy.key.namespace} edit networkpolicy {policy.key.name}",),
                place=ObjectKey(policy.key.namespace, ""),
            )


def _kinds(policies: Policies) -> list[Pod]:
    """One pod of each namespace and set of labels."""
    found: dict[object, Pod] = {}
    for pod in policies.pods.values():
        found.setdefault((pod.key.namespace, pod.labels), pod)
    return list(found.values())[:MOST_KINDS]


def _services(picture: Picture, policies: Policies) -> Iterator[Finding]:
    kinds = _kinds(policies)
    isolated = {policy.key.namespace for policy in policies.policies.values()}
    seen: dict[object, bool] = {}
    for service in picture.services:
        if namespace_of(service) not in isolated:
            continue
        for port in spec_of(service).get("ports") or ():
            yield from _closed(picture, policies, service, port, kinds, seen)


def _closed(
    picture: Picture, policies: Policies, service: Tree, port: Tree, kinds: list[Pod], seen: dict[object, bool]
) -> Iterator[Finding]:
    """A port of a Service into which no pod may come."""
    protocol = protocol_of(port).lower()
    ends = list(_ends(picture, service, port))
    if not ends or not all(plan.selecting(policies, pod, Direction.INGRESS) for pod, _ in ends):
        return
    for pod, number in ends:
        key = (pod.key.namespace, pod.labels, number, protocol)
        if key not in seen:
            seen[key] = _is_open(policies, pod, number, protocol, kinds)
        if seen[key]:
            return
    pod, number = ends[0]
    chosen = plan.selecting(policies, pod, Direction.INGRESS)
    tried = f"tried {len(kinds)} kinds of pods and an address outside: none may come to {pod.key.name}"
    yield _denied(service, f"{number}/{protocol}", chosen, tried, _allow(service, number, protocol))


def _ends(picture: Picture, service: Tree, port: Tree) -> Iterator[tuple[Pod, int]]:
    """The pods that take the port's traffic, and where."""
    for tree in filter(is_ready, picture.pods_of(service)):
        pod, number = read_pod(tree), number_for(port, tree)
        if pod and number:
            yield pod, number


def _denied(service: Tree, port: str, chosen: Sequence[Policy], tried: str, allowing: str) -> Finding:
    names = [policy.key.name for policy in chosen]
    return Finding(
        Severity.BROKEN,
        "policy-denies",
        f"Service {key_of(service)}",
        f"NetworkPolicy {listed(names)} lets nobody reach port {port} of its pods: packets are dropped",
        (", ".join(map(_shown, chosen)), tried),
        (allowing, f"kubectl -n {namespace_of(service)} delete networkpolicy {names[0]}"),
        place=key_of(service),
    )


def _is_open(policies: Policies, pod: Pod, number: int, protocol: str, kinds: list[Pod]) -> bool:
    """Whether anybody may come in at all, whatever other ends' policies say."""
    address = pod.addresses[0]
    here = replace(policies, node=Node(pod.node))
    senders = [kind.addresses[0] for kind in kinds if kind.key != pod.key] + [WORLD]
    return any(
        plan.decide(_one_end(here, packet, address), packet)
        for packet in (Packet(source, address, protocol, number) for source in senders)
    )


def _shown(policy: Policy) -> str:
    rules = policy.allowed.get(Direction.INGRESS, ())
    if not rules:
        return f"{policy.key.name} selects them ({policy.pods or 'all pods'}) and has no ingress rule"
    peers = [str(peer) for rule in rules for peer in rule.peers or ()]
    return f"{policy.key.name} allows {listed(peers) or 'all'}" + ("" if peers else " on other ports")


def _allow(service: Tree, number: int, protocol: str) -> str:
    selector = {"matchLabels": spec_of(service).get("selector") or {}}
    ports = [{"port": number, "protocol": protocol.upper()}]
    spec = {"podSelector": selector, "ingress": [{"ports": ports}]}
    return applied(_policy(f"allow-{name_of(service)}", spec), namespace_of(service))


def _policy(name: str, spec: Tree) -> Tree:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}


def _names(picture: Picture, policies: Policies) -> Iterator[Finding]:
    """Pods that may not ask cluster DNS: every name fails for them."""
    service = system.dns_service(picture)
    servers = (
        [pod for tree in picture.pods_of(service) if is_ready(tree) and (pod := read_pod(tree))] if service else []
    )
    if not servers:
        return
    cut: dict[tuple[str, tuple[str, ...]], list[Pod]] = {}
    for pod in _kinds(policies):
        against = [policy.key.name for policy in plan.selecting(policies, pod, Direction.EGRESS)]
        if against and not any(_may_ask(policies, pod, server) for server in servers):
            cut.setdefault((pod.key.namespace, tuple(against)), []).append(pod)
    for (namespace, names), pods in cut.items():
        yield Finding(
            Severity.SUSPECT,
            "policy-denies-dns",
            f"Namespace {namespace}",
            f"NetworkPolicy {listed(names)} keeps pods from asking cluster DNS: no name can be resolved in them",
            (
                f"53/udp to {listed(str(each.addresses[0]) for each in servers)} is not allowed for "
                f"{listed(pod.key.name for pod in pods)}",
            ),
            (_allow_dns(namespace),),
            place=ObjectKey(namespace, ""),
        )


def _may_ask(policies: Policies, pod: Pod, server: Pod) -> bool:
    packet = Packet(pod.addresses[0], server.addresses[0], "udp", 53)
    here = replace(policies, node=Node(pod.node))
    return plan.decide(_one_end(here, packet, pod.addresses[0]), packet)


def _allow_dns(namespace: str) -> str:
    ports = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]}
    return applied(_policy("allow-dns", spec), namespace)
