"""Which node takes a pod, or why none does.

Stage: plan.  In: a pod, nodes, their loads, what other pods mean for it.  Out: a node's name, or a sentence.
Rules: pure; equal inputs give equal answers; the first filter that refuses a node gives the reason.
Truth: kube-scheduler's default profile; its sentences as its users see them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from clusterip.controllers import placement
from clusterip.controllers.ledger import Amounts, Load, allocatable, collides, host_ports, owner_of, requests_of
from clusterip.controllers.model import Node, Pod
from clusterip.controllers.neighbours import FREE, RESOLVABLE, Relations

NO_NODES = "no nodes available to schedule pods"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node does not take the pod, and whether evicting others could help."""

    reasons: tuple[str, ...]
    resolvable: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    node: Node
    load: Load
    relations: Relations = FREE


@dataclass(frozen=True, slots=True)
class Decision:
    node: str | None
    message: str = ""
    hopeful: tuple[Candidate, ...] = ()
    """Nodes that would take the pod if others left them."""
    reasons: str = ""
    """The message without a word about others that could leave."""


Filter = Callable[[Pod, Amounts, Candidate], Refusal | None]


def decide(pod: Pod, nodes: Iterable[Node], load: Callable[[str], Load], relations: Relations = FREE) -> Decision:
    """The node for the pod."""
    candidates = [Candidate(node, load(node.metadata.name), relations) for node in nodes]
    if not candidates:
        return Decision(None, NO_NODES)
    asked = requests_of(pod.spec)
    fitting: list[Candidate] = []
    refusals: list[Refusal] = []
    hopeful: list[Candidate] = []
    for candidate in candidates:
        refusal = _refusal(pod, asked, candidate)
        if refusal is None:
            fitting.append(candidate)
        else:
            refusals.append(refusal)
            if refusal.resolvable:
                hopeful.append(candidate)
    if not fitting:
        return Decision(None, sentence(refusals), tuple(hopeful), f"{_why(refusals)}.")
    return Decision(min(fitting, key=lambda candidate: _rank(pod, asked, candidate)).node.metadata.name)


def fits(pod: Pod, node: Node, load: Load, relations: Relations = FREE) -> bool:
    """Whether the node would take the pod beside this load."""
    return _refusal(pod, requests_of(pod.spec), Candidate(node, load, relations)) is None


def _refusal(pod: Pod, asked: Amounts, candidate: Candidate) -> Refusal | None:
    for filter in FILTERS:
        if (refusal := filter(pod, asked, candidate)) is not None:
            return refusal
    return None


# -- filters, in kube-scheduler's order -------------------------------------------------------------------------------


def _unschedulable(pod: Pod, asked: Amounts, candidate: Candidate) -> Refusal | None:
    refused = placement.is_cordoned(pod.spec, candidate.node) or candidate.node.metadata.is_terminating
    return Refusal(("node(s) were unschedulable",)) if refused else None


def _tainted(pod: Pod, asked: Amounts, candidate: Candidate) -> Refusal | None:
    taint = placement.untolerated(pod.spec.tolerations, candidate.node.spec.taints, placement.KEEPS_AWAY)
    return Refusal(("node(s) had untolerated taint(s)",)) if taint else None


def _unwanted(pod: Pod, asked: Amounts, candidate: Candidate) -> Refusal | None:
    wanted = placement.is_wanted_on(pod.spec, candidate.node)
    return None if wanted else Refusal(("node(s) didn't match Pod's node affinity/selector",))


def _port_taken(pod: Pod, asked: Amounts, candidate: Candidate) -> Refusal | None:
    taken = collides(tuple(host_ports(pod.spec)), candidate.load.ports)
    return Refusal(("node(s) didn't have free ports for the requested pod ports",), resolvable=True) if taken else None


def _too_small(pod: Pod, asked: Amounts, candidate: Candidate) -> Refusal | None:
    room = allocatable(candidate.node.status.allocatable)
    reasons, hopeless = [], False
    if "pods" in room and (candidate.load.pods + 1) * 1000 > room["pods"]:
        reasons.append("Too many pods")
    for name, amount in asked.items():
        if amount > 0 and candidate.load.requested[name] + amount > room.get(name, 0):
            reasons.append(f"Insufficient {name}")
            hopeless = hopeless or amount > room.get(name, 0)
    return Refusal(tuple(reasons), resolvable=not hopeless) if reasons else None


def _others_object(pod: Pod, asked: Amounts, candidate: Candidate) -> Refusal | None:
    why = candidate.relations.objection(candidate.node)
    return Refusal((why,), resolvable=why in RESOLVABLE) if why else None


FILTERS: Sequence[Filter] = (_unschedulable, _tainted, _unwanted, _port_taken, _too_small, _others_object)


# -- choice -----------------------------------------------------------------------------------------------------------


def _rank(pod: Pod, asked: Amounts, candidate: Candidate) -> tuple[object, ...]:
    """Lowest first: avoided softly, least preferred by itself and for its pods, siblings, share in use, pods, name."""
    node, load = candidate.node, candidate.load
    owner = owner_of(pod)
    soft = [taint for taint in node.spec.taints if taint.effect == "PreferNoSchedule"]
    avoided = sum(
        placement.untolerated(pod.spec.tolerations, [taint], ["PreferNoSchedule"]) is not None for taint in soft
    )
    return (
        avoided,
        -placement.preference(pod.spec, node),
        -candidate.relations.pull(node),
        load.owners[owner] if owner else 0,
        _use(asked, candidate),
        load.pods,
        node.metadata.name,
    )


def _use(asked: Amounts, candidate: Candidate) -> float:
    """The mean share of processor and memory in use once the pod is there."""
    room = allocatable(candidate.node.status.allocatable)
    shares = [
        (candidate.load.requested[name] + asked.get(name, 0)) / room[name]
        for name in ("cpu", "memory")
        if room.get(name)
    ]
    return sum(shares) / len(shares) if shares else 0.0


# -- words ------------------------------------------------------------------------------------------------------------


def sentence(refusals: Sequence[Refusal]) -> str:
    """kube-scheduler's summary: how many nodes, and each reason with its count."""
    helps = Counter(
        "No preemption victims found for incoming pod"
        if refusal.resolvable
        else "Preemption is not helpful for scheduling"
        for refusal in refusals
    )
    return f"{_why(refusals)}. no new claims to deallocate, preemption: {_head(refusals)}{_listed(helps)}."


def _why(refusals: Sequence[Refusal]) -> str:
    return _head(refusals) + _listed(Counter(reason for refusal in refusals for reason in refusal.reasons))


def _head(refusals: Sequence[Refusal]) -> str:
    return f"0/{len(refusals)} nodes are available: "


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
