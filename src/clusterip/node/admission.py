"""Whether the node takes a pod, or a pod's greater wishes, beside those that it has.

Stage: plan.  In: the pod, the others as granted, what the node has to give.  Out: a refusal with the kubelet's words.
Rules: pure; a pod of the system is never refused for want of resources.
Limits: node selectors and taints are the scheduler's.
Truth: pkg/kubelet/lifecycle/predicate.go, whose words these are; kube-scheduler's Fits of resources and ports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from clusterip.api.quantity import milli, value
from clusterip.api.usage import summed
from clusterip.node.model import Pod

COUNTED = ("cpu", "memory", "ephemeral-storage")
SYSTEM_PRIORITY = 2_000_000_000
ANYWHERE = ("", "0.0.0.0", "::")
PORTS_TAKEN = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not."""

    reason: str
    message: str


def refusal(pod: Pod, others: Sequence[Pod], allocatable: Mapping[str, str]) -> Refusal | None:
    """Why the node does not take the pod; None: it does."""
    short = None if int(pod.spec.get("priority") or 0) >= SYSTEM_PRIORITY else shortage(pod, others, allocatable)
    if short is None and _ports_taken(pod, others):
        return Refusal("NodePorts", PORTS_TAKEN)
    return short


def shortage(pod: Pod, others: Sequence[Pod], allocatable: Mapping[str, str]) -> Refusal | None:
    """The first resource that the node has too little of."""
    if "pods" in allocatable and len(others) + 1 > int(allocatable["pods"]):
        return _short("pods", 1, len(others), int(allocatable["pods"]))
    asked = summed(pod.tree, "requests")
    used: Counter[str] = Counter()
    for other in others:
        used.update({name: _whole(name, size) for name, size in summed(other.tree, "requests").items()})
    for name in COUNTED:
        wanted, room = _whole(name, asked.get(name, NOTHING)), _whole(name, allocatable.get(name))
        if wanted and name in allocatable and used[name] + wanted > room:
            return _short(name, wanted, used[name], room)
    return None


def _whole(name: str, size: Decimal | str | None) -> int:
    """Thousandths of processors, bytes of what else."""
    text = str(size or 0)
    return milli(text) if name == "cpu" else value(text)


def _short(name: str, asked: int, used: int, room: int) -> Refusal:
    text = f"Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {room}"
    return Refusal(f"OutOf{name}", text)


# -- ports of the node ------------------------------------------------------------------------------------------------

Port = tuple[str, str, int]  # protocol, address, number


def _ports(pod: Pod) -> Iterable[Port]:
    """A sidecar's ports stay taken, those of other init containers pass."""
    for container in (*pod.app_containers, *(one for one in pod.init_containers if one.is_sidecar)):
        for port in container.tree.get("ports") or ():
            if port.get("hostPort"):
                yield str(port.get("protocol") or "TCP"), str(port.get("hostIP") or ""), int(port["hostPort"])


def _ports_taken(pod: Pod, others: Sequence[Pod]) -> bool:
    wanted = list(_ports(pod))
    return bool(wanted) and any(_same(one, two) for other in others for two in _ports(other) for one in wanted)


def _same(one: Port, other: Port) -> bool:
    overlap = one[1] == other[1] or one[1] in ANYWHERE or other[1] in ANYWHERE
    return one[0] == other[0] and one[2] == other[2] and overlap
