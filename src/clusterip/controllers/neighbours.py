"""Which other pods a pod wants near, keeps away, or is spread among.

Stage: plan.  In: a pod, the nodes, the pods that are placed.  Out: for each node an objection, and its attraction.
Rules: pure; what has to be counted is counted once a decision; a pod without wishes, towards which nobody has any,
costs nothing.  What is only preferred attracts; it never objects.
Truth: kube-scheduler's InterPodAffinity and PodTopologySpread; core/v1 PodAffinityTerm and TopologySpreadConstraint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from clusterip.api.meta import Tree
from clusterip.api.selectors import from_label_selector
from clusterip.controllers import placement
from clusterip.controllers.model import Node, Pod

NEAR, AWAY = "podAffinity", "podAntiAffinity"
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
FAR_FROM_WANTED = "node(s) didn't match pod affinity rules"
NEAR_UNWANTED = "node(s) didn't match pod anti-affinity rules"
UNWANTED_THERE = "node(s) didn't satisfy existing pods anti-affinity rules"
UNEVEN = "node(s) didn't match pod topology spread constraints"
UNLABELLED = f"{UNEVEN} (missing required label)"
RESOLVABLE = frozenset((NEAR_UNWANTED, UNWANTED_THERE, UNEVEN))

Domain = tuple[str, str]  # a node's label: one part of the topology
Namespaces = Mapping[str, Mapping[str, str]]  # name -> labels
Rule = Callable[[Node], str | None]
Selects = Callable[[Pod], bool]


class Placed(NamedTuple):
    pod: Pod
    node: Node


@dataclass(frozen=True, slots=True)
class Around:
    """What a decision may look at: all placed pods, those of them with wishes of their own, and the namespaces."""

    placed: Callable[[], Sequence[Placed]]
    wishing: Sequence[Placed]
    namespaces: Callable[[], Namespaces]


@dataclass(frozen=True, slots=True)
class Relations:
    """What other pods mean for one pod's place."""

    rules: tuple[Rule, ...] = ()
    pulls: Mapping[Domain, int] = field(default_factory=dict)

    def objection(self, node: Node) -> str | None:
        return next((why for rule in self.rules if (why := rule(node)) is not None), None)

    def pull(self, node: Node) -> int:
        """How much the node is preferred, in weights."""
        return sum(self.pulls.get(label, 0) for label in node.metadata.labels.items()) if self.pulls else 0


FREE = Relations()


def has_wishes(pod: Pod) -> bool:
    """Whether other pods decide where the pod may be."""
    return affects_others(pod) or bool(pod.spec.topology_spread_constraints)


def affects_others(pod: Pod) -> bool:
    """Whether the pod decides where others may be."""
    affinity = pod.spec.affinity or {}
    return bool(affinity.get(NEAR) or affinity.get(AWAY))


def relate(pod: Pod, nodes: Sequence[Node], around: Around) -> Relations:
    """All that other pods mean for the pod's place."""
    if not around.wishing and not has_wishes(pod):
        return FREE
    placed = around.placed() if has_wishes(pod) else ()
    spread = [_Spread.of(pod, tree, nodes, placed) for tree in pod.spec.topology_spread_constraints]
    pulls = _pulls(pod, placed, around)
    for one in spread:
        if not one.is_required:
            pulls.subtract(one.counts)
    return Relations(tuple(_rules(pod, spread, placed, around)), pulls)


def _rules(pod: Pod, spread: Sequence[_Spread], placed: Sequence[Placed], around: Around) -> Iterator[Rule]:
    """What can object, in kube-scheduler's order."""
    if hard := [one for one in spread if one.is_required]:
        yield _evenly(hard)
    if near := list(_required(pod, NEAR, around)):
        yield _beside(pod, near, placed)
    if away := list(_required(pod, AWAY, around)):
        yield _outside(((term, other.pod, other.node) for term in away for other in placed), NEAR_UNWANTED)
    theirs = [(term, pod, other.node) for other in around.wishing for term in _required(other.pod, AWAY, around)]
    if theirs:
        yield _outside(theirs, UNWANTED_THERE)


# -- affinity ---------------------------------------------------------------------------------------------------------


class Term(NamedTuple):
    """Some pods, and the label of nodes that says what is near."""

    key: str
    selects: Selects
    weight: int = 1


Case = tuple[Term, Pod, Node]  # whether the term means the pod, asked for the node


def _required(pod: Pod, kind: str, around: Around) -> Iterator[Term]:
    for tree in ((pod.spec.affinity or {}).get(kind) or {}).get(REQUIRED) or ():
        yield _term(pod, tree, around)


def _preferred(pod: Pod, around: Around) -> Iterator[Term]:
    """What is to be kept away has a negative weight."""
    for kind, sign in ((NEAR, 1), (AWAY, -1)):
        for tree in ((pod.spec.affinity or {}).get(kind) or {}).get(PREFERRED) or ():
            yield _term(pod, tree["podAffinityTerm"], around, sign * int(tree["weight"]))


def _term(owner: Pod, tree: Tree, around: Around, weight: int = 1) -> Term:
    named, chosen = tree.get("namespaces") or (), tree.get("namespaceSelector")
    namespaces = set(named) if named or chosen is not None else {owner.metadata.namespace}
    if chosen is not None:
        selector = from_label_selector(chosen)
        namespaces |= {name for name, labels in around.namespaces().items() if selector.matches(labels)}
    matches = _matching(owner, tree)
    return Term(tree["topologyKey"], lambda pod: pod.metadata.namespace in namespaces and matches(pod), weight)


def _matching(owner: Pod, tree: Tree) -> Selects:
    """By the selector, and by the labels that must be as the owner's, or must not."""
    selector = tree.get("labelSelector")
    if selector is not None:
        labels = owner.metadata.labels
        keys = (("In", tree.get("matchLabelKeys")), ("NotIn", tree.get("mismatchLabelKeys")))
        more = [
            {"key": key, "operator": operator, "values": [labels[key]]}
            for operator, wanted in keys
            for key in wanted or ()
            if key in labels
        ]
        selector = {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *more]}
    found = from_label_selector(selector)
    return lambda pod: found.matches(pod.metadata.labels)


def _domain(node: Node, key: str) -> Domain | None:
    value = node.metadata.labels.get(key)
    return None if value is None else (key, value)


def _met(cases: Iterable[Case]) -> Iterator[tuple[Domain, int]]:
    """Where a term means a pod, and with what weight."""
    for term, meant, node in cases:
        if (domain := _domain(node, term.key)) and term.selects(meant):
            yield domain, term.weight


def _beside(pod: Pod, terms: Sequence[Term], placed: Iterable[Placed]) -> Rule:
    """Near pods that all terms mean; the first of a group that wants to be together has nobody to be near to."""
    company = {
        _domain(other.node, term.key)
        for other in placed
        if all(term.selects(other.pod) for term in terms)
        for term in terms
    } - {None}
    is_first = not company and all(term.selects(pod) for term in terms)

    def rule(node: Node) -> str | None:
        domains = [_domain(node, term.key) for term in terms]
        fine = None not in domains and (is_first or company.issuperset(domains))
        return None if fine else FAR_FROM_WANTED

    return rule


def _outside(cases: Iterable[Case], why: str) -> Rule:
    domains = {domain for domain, _ in _met(cases)}
    return lambda node: why if any(label in domains for label in node.metadata.labels.items()) else None


def _pulls(pod: Pod, placed: Iterable[Placed], around: Around) -> Counter[Domain]:
    """What the pod prefers, and what those there prefer; who must have it near prefers it by one."""
    cases = [(term, other.pod, other.node) for term in _preferred(pod, around) for other in placed]
    for other in around.wishing:
        terms = (*_preferred(other.pod, around), *_required(other.pod, NEAR, around))
        cases += [(term, pod, other.node) for term in terms]
    pulls: Counter[Domain] = Counter()
    for domain, weight in _met(cases):
        pulls[domain] += weight
    return pulls


# -- spreading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Spread:
    """One constraint, counted: how many pods that it means are in each domain."""

    key: str
    is_required: bool
    most: int
    """The most that a domain may have more than the one that has the fewest."""
    counts: Counter[Domain]
    fewest: int
    own: int
    """1 when the pod itself is meant."""

    @classmethod
    def of(cls, pod: Pod, tree: Tree, nodes: Iterable[Node], placed: Iterable[Placed]) -> _Spread:
        key, matches = tree["topologyKey"], _matching(pod, tree)
        eligible = {node.metadata.name: domain for node, domain in _eligible(pod, tree, nodes)}
        counts = Counter(dict.fromkeys(eligible.values(), 0))
        for other in placed:
            domain, meta = eligible.get(other.node.metadata.name), other.pod.metadata
            if domain and meta.namespace == pod.metadata.namespace and not meta.is_terminating and matches(other.pod):
                counts[domain] += 1
        fewest = min(counts.values(), default=0) if len(counts) >= (tree.get("minDomains") or 1) else 0
        required = tree.get("whenUnsatisfiable") == "DoNotSchedule"
        return cls(key, required, int(tree["maxSkew"]), counts, fewest, int(matches(pod)))


def _eligible(pod: Pod, tree: Tree, nodes: Iterable[Node]) -> Iterator[tuple[Node, Domain]]:
    """The nodes that count: with the labels of all that has to be kept, and as the policies say."""
    how = "whenUnsatisfiable"
    keys = {one["topologyKey"] for one in pod.spec.topology_spread_constraints if one[how] == tree[how]}
    for node in nodes:
        if not keys <= node.metadata.labels.keys():
            continue
        if tree.get("nodeAffinityPolicy") != "Ignore" and not placement.is_wanted_on(pod.spec, node):
            continue
        taints = node.spec.taints if tree.get("nodeTaintsPolicy") == "Honor" else ()
        if placement.untolerated(pod.spec.tolerations, taints, placement.KEEPS_AWAY) is None:
            yield node, (tree["topologyKey"], node.metadata.labels[tree["topologyKey"]])


def _evenly(constraints: Sequence[_Spread]) -> Rule:
    def rule(node: Node) -> str | None:
        for one in constraints:
            domain = _domain(node, one.key)
            if domain is None:
                return UNLABELLED
            if one.counts[domain] + one.own - one.fewest > one.most:
                return UNEVEN
        return None

    return rule
