"""Who may speak with whom: the meaning of a picture, by definition.

Stage: plan.  In: a Picture, a packet.  Out: whether it passes; which policies select a pod.
Rules: pure, and as near to the words of the API as can be: compiled tables are held against it.
Truth: networking.k8s.io/v1.  Both ends' policies are asked, each on the node of its pod.  What a pod says to itself and
what passes between a pod and its own node is never cut.  An address of this node's range that no known pod has is
nobody's: nothing goes there or comes from there.
"""

from __future__ import annotations

from clusterip.api.selectors import LabelSelector
from clusterip.policy.model import (
    Allowance,
    Block,
    Direction,
    IPAddress,
    Labels,
    Packet,
    Picture,
    Pod,
    PodPeer,
    Policy,
    PortName,
    Ports,
)


def decide(picture: Picture, packet: Packet) -> bool:
    """Whether this node lets the packet pass."""
    ends = packet.source, packet.destination
    if packet.established or any(end in picture.node.addresses for end in ends):
        return True
    return _passes(picture, packet, Direction.EGRESS) and _passes(picture, packet, Direction.INGRESS)


def _passes(picture: Picture, packet: Packet, direction: Direction) -> bool:
    own = packet.source if direction is Direction.EGRESS else packet.destination
    pod = picture.pods.get(own)
    if pod is None or pod.node != picture.node.name:
        return not any(own in network for network in picture.node.pod_networks)
    if packet.source == packet.destination:
        return True
    policies = selecting(picture, pod, direction)
    return not policies or any(_allows(picture, policy, direction, packet) for policy in policies)


def selecting(picture: Picture, pod: Pod, direction: Direction) -> list[Policy]:
    """The policies that isolate a pod."""
    return [found for found in picture.policies.values() if direction in found.allowed and selects(found, pod)]


def selects(policy: Policy, pod: Pod) -> bool:
    return policy.key.namespace == pod.key.namespace and fits(policy.pods, pod.labels)


def fits(selector: LabelSelector, labels: Labels) -> bool:
    return selector.matches(dict(labels))


def _allows(picture: Picture, policy: Policy, direction: Direction, packet: Packet) -> bool:
    peer = packet.destination if direction is Direction.EGRESS else packet.source
    return any(
        _is_peer(picture, allowance, peer) and _is_port(picture, allowance, packet)
        for allowance in policy.allowed[direction]
    )


def _is_peer(picture: Picture, allowance: Allowance, address: IPAddress) -> bool:
    return allowance.peers is None or any(
        address in peer.network and not any(address in cut for cut in peer.excepts)
        if isinstance(peer, Block)
        else address in picture.pods and is_peer(peer, picture.pods[address], picture)
        for peer in allowance.peers
    )


def is_peer(peer: PodPeer, pod: Pod, picture: Picture) -> bool:
    """Whether a pod is meant; in a namespace that is not known it is not."""
    if peer.namespaces is None:
        return pod.key.namespace == peer.namespace and fits(peer.pods, pod.labels)
    labels = picture.namespaces.get(pod.key.namespace)
    return labels is not None and fits(peer.namespaces, labels) and fits(peer.pods, pod.labels)


def _is_port(picture: Picture, allowance: Allowance, packet: Packet) -> bool:
    return allowance.ports is None or any(_is_in(picture, ports, packet) for ports in allowance.ports)


def _is_in(picture: Picture, ports: Ports, packet: Packet) -> bool:
    """A name means what the pod at the destination calls so."""
    if ports.protocol != packet.protocol:
        return False
    if not ports.name:
        return ports.first <= packet.port <= ports.last
    pod, wanted = picture.pods.get(packet.destination), PortName(ports.protocol, ports.name)
    return pod is not None and any(found.name == wanted and found.number == packet.port for found in pod.ports)
