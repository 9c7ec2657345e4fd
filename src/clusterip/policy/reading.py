"""Trees of the API -> values: Pods, NetworkPolicies, the Node.

Stage: edge.  In: trees.  Out: frozen values; None for a pod that policies have nothing to do with.
Rules: pure.  A policy that cannot be read isolates what it may have meant, in both directions, and says why.
Truth: core/v1, networking.k8s.io/v1; the API server rejects most of what is called a fault here, others may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from clusterip.api.meta import ObjectKey, Tree
from clusterip.api.selectors import LabelSelector, from_label_selector
from clusterip.policy.model import (
    Allowance,
    Block,
    Direction,
    IPAddress,
    IPNetwork,
    Labels,
    NamedPort,
    Node,
    Pod,
    PodPeer,
    Policy,
    PortName,
    Ports,
)

PROTOCOLS = ("TCP", "UDP", "SCTP")
ENDED = ("Succeeded", "Failed")
PEERS = {Direction.INGRESS: ("ingress", "from"), Direction.EGRESS: ("egress", "to")}
EVERYTHING = LabelSelector()
MALFORMED = (KeyError, TypeError, ValueError, AttributeError)


def labels_of(tree: Tree) -> Labels:
    return tuple(sorted((tree["metadata"].get("labels") or {}).items()))


# -- pods and the node -------------------------------------------------------------------------------------------------


def read_pod(tree: Tree) -> Pod | None:
    """Pods in a host's network have no address of their own; the address of one that ended may be another's."""
    meta, spec, status = tree["metadata"], tree.get("spec") or {}, tree.get("status") or {}
    addresses = tuple(_addresses(status))
    if spec.get("hostNetwork") or status.get("phase") in ENDED or not addresses:
        return None
    return Pod(
        ObjectKey(meta["namespace"], meta["name"]),
        labels_of(tree),
        addresses,
        spec.get("nodeName") or "",
        tuple(_named_ports(spec)),
        meta.get("creationTimestamp") or "",
    )


def _addresses(status: dict[str, Any]) -> Iterator[IPAddress]:
    texts = [found.get("ip") for found in status.get("podIPs") or ()] or [status.get("podIP")]
    for text in dict.fromkeys(filter(None, texts)):
        try:
            yield ip_address(text)
        except ValueError:
            continue


def _named_ports(spec: dict[str, Any]) -> Iterator[NamedPort]:
    """Of containers and of sidecars; of one name the first."""
    sidecars = [found for found in spec.get("initContainers") or () if found.get("restartPolicy") == "Always"]
    known: dict[PortName, int] = {}
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("name"):
                known.setdefault(PortName(_protocol(port), port["name"]), port["containerPort"])
    return (NamedPort(name, number) for name, number in known.items())


def _protocol(port: dict[str, Any]) -> str:
    found = port.get("protocol") or "TCP"
    if found not in PROTOCOLS:
        raise ValueError(f"{found!r} is none of the protocols {', '.join(PROTOCOLS)}")
    return str(found).lower()


def read_node(tree: Tree) -> Node:
    spec, status = tree.get("spec") or {}, tree.get("status") or {}
    texts = spec.get("podCIDRs") or [spec.get("podCIDR")]
    addresses = [found["address"] for found in status.get("addresses") or () if found["type"].endswith("IP")]
    return Node(
        tree["metadata"]["name"],
        frozenset(map(ip_address, addresses)),
        tuple(ip_network(text, strict=False) for text in texts if text),
    )


# -- policies ----------------------------------------------------------------------------------------------------------


def read_policy(tree: Tree) -> Policy:
    """Never an error: what cannot be understood allows nothing."""
    meta = tree["metadata"]
    key, uid = ObjectKey(meta["namespace"], meta["name"]), meta.get("uid") or ""
    spec = tree.get("spec")
    pods = EVERYTHING
    try:
        pods = from_label_selector((spec or {}).get("podSelector") or {})
        return Policy(key, pods, {each: _allowed(key.namespace, spec or {}, each) for each in _directions(spec)}, uid)
    except MALFORMED as error:
        return Policy(key, pods, dict.fromkeys(Direction, ()), uid, f"{type(error).__name__}: {error}")


def _directions(spec: Any) -> list[Direction]:
    """Those that are named; else ingress, and egress if there is a rule of it."""
    spec = spec or {}
    if named := spec.get("policyTypes"):
        return [Direction(name) for name in named]
    return [Direction.INGRESS, *([Direction.EGRESS] if spec.get("egress") else [])]


def _allowed(namespace: str, spec: dict[str, Any], direction: Direction) -> tuple[Allowance, ...]:
    rules, peers = PEERS[direction]
    return tuple(
        Allowance(
            _peers(namespace, rule[peers]) if rule.get(peers) else None,
            tuple(map(_ports, rule["ports"])) if rule.get("ports") else None,
        )
        for rule in spec.get(rules) or ()
    )


def _peers(namespace: str, peers: Iterable[dict[str, Any]]) -> tuple[PodPeer | Block, ...]:
    return tuple(_peer(namespace, peer) for peer in peers)


def _peer(namespace: str, peer: dict[str, Any]) -> PodPeer | Block:
    known = {"podSelector", "namespaceSelector", "ipBlock"} & {
        name for name, value in peer.items() if value is not None
    }
    if not known or ("ipBlock" in known and len(known) > 1):
        raise ValueError("a peer needs selectors or an ipBlock")
    if "ipBlock" in known:
        block = peer["ipBlock"]
        return Block(_network(block["cidr"]), tuple(map(_network, block.get("except") or ())))
    pods = from_label_selector(peer.get("podSelector") or {})
    if "namespaceSelector" in known:
        return PodPeer(pods, namespaces=from_label_selector(peer["namespaceSelector"]))
    return PodPeer(pods, namespace)


def _network(text: str) -> IPNetwork:
    return ip_network(text, strict=False)


def _ports(port: dict[str, Any]) -> Ports:
    protocol, number = _protocol(port), port.get("port")
    if number is None:
        return Ports(protocol)
    if isinstance(number, str):
        return Ports(protocol, name=number)
    last = port.get("endPort")
    last = number if last is None else last
    if not 0 < number <= last <= 65535:
        raise ValueError(f"ports {number} to {last}: use 1 to 65535, the lower one first")
    return Ports(protocol, first=number, last=last)
