"""Which flow a request belongs to: flow schemas and priority levels, as the API keeps them, made ready to ask.

Stage: decide; pure.  In: objects of flowcontrol.apiserver.k8s.io, a user, a route.  Out: a schema and its level.
Rules: the schema of lowest precedence that fits decides, then its name; without any that fits, catch-all does.
Truth: KEP-1040; apiserver's util/flowcontrol (rule.go, apf_controller.go).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from clusterip.api.flowdefaults import first_levels, first_schemas
from clusterip.api.meta import Tree
from clusterip.apiserver.access import ACCOUNT_PREFIX, User
from clusterip.apiserver.flow import Lane, Level, Queue, deal, seats_of
from clusterip.apiserver.routing import Route

Fits = Callable[[User, Route], bool]


@dataclass(frozen=True, slots=True)
class Schema:
    """A FlowSchema, ready to ask."""

    name: str
    uid: str
    level: str
    precedence: int
    distinguisher: str
    rules: Sequence[tuple[Fits, Fits]]
    """Who, and what."""

    def fits(self, user: User, found: Route) -> bool:
        return any(who(user, found) and what(user, found) for who, what in self.rules)

    def distinguished(self, user: User, found: Route) -> str:
        """What tells this request's flow from others of the schema."""
        if self.distinguisher == "ByUser":
            return user.name
        return found.namespace if self.distinguisher == "ByNamespace" else ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All schemas in the order in which they are asked, and the levels."""

    schemas: Sequence[Schema]
    levels: Mapping[str, Level]

    def lane(self, user: User, found: Route) -> Lane:
        """A fresh lane for the flow that a request belongs to."""
        for schema in self.schemas:
            if schema.level in self.levels and schema.fits(user, found):
                return lane_of(schema, self.levels[schema.level], schema.distinguished(user, found))
        return Lane(self.levels["catch-all"], "catch-all")


def lane_of(schema: Schema, level: Level, distinguished: str) -> Lane:
    """A flow's lane: the hand of queues that its hash deals it."""
    if not level.queues:
        return Lane(level, schema.name, schema.uid)
    digest = hashlib.sha256(f"{schema.name}\0{distinguished}".encode(errors="replace")).digest()
    cards = deal(int.from_bytes(digest[:8], "little"), len(level.queues), level.hand)
    return Lane(level, schema.name, schema.uid, tuple(cards))


def plan_of(schemas: Iterable[Tree], levels: Iterable[Tree], seats: int, before: Mapping[str, Level]) -> Plan:
    """The plan for what is kept; a level that was there before keeps who is in it. Mandatory ones are always there."""
    trees = {tree["metadata"]["name"]: tree for tree in (*_mandatory(first_levels()), *levels)}
    rules = {tree["metadata"]["name"]: tree for tree in (*_mandatory(first_schemas()), *schemas)}
    total = sum(_shares(tree) for tree in trees.values())
    made = {name: _level(tree, seats, total, before.get(name)) for name, tree in trees.items()}
    ready = sorted(map(_schema, rules.values()), key=lambda each: (each.precedence, each.name))
    return Plan(ready, made)


def _mandatory(trees: Iterable[Tree]) -> Iterable[Tree]:
    return (tree for tree in trees if tree["metadata"]["name"] in ("exempt", "catch-all"))


def _limits(tree: Tree) -> Tree:
    spec = tree.get("spec") or {}
    limits: Tree = spec.get("limited") or spec.get("exempt") or {}
    return limits


def _shares(tree: Tree) -> int:
    return int(_limits(tree).get("nominalConcurrencyShares") or 0)


def _level(tree: Tree, seats: int, total: int, before: Level | None) -> Level:
    limits = _limits(tree)
    queuing = (limits.get("limitResponse") or {}).get("queuing") or {}
    level = before or Level(tree["metadata"]["name"])
    level.uid = tree["metadata"].get("uid", "")
    level.exempt = tree["spec"].get("type") == "Exempt"
    level.nominal = seats_of(seats, _shares(tree), total)
    level.lendable = level.nominal * int(limits.get("lendablePercent") or 0) // 100
    borrowed = limits.get("borrowingLimitPercent")
    level.borrowable = None if borrowed is None else level.nominal * int(borrowed) // 100
    number = min(int(queuing.get("queues") or 0), 1024)
    if number != len(level.queues) and not level.waiting:
        level.queues = [Queue() for _ in range(number)]
    level.hand = min(int(queuing.get("handSize") or 1), len(level.queues) or 1)
    level.length = int(queuing.get("queueLengthLimit") or 0)
    return level


def _schema(tree: Tree) -> Schema:
    spec, metadata = tree["spec"], tree["metadata"]
    return Schema(
        metadata["name"],
        metadata.get("uid", ""),
        spec["priorityLevelConfiguration"]["name"],
        int(spec.get("matchingPrecedence") or 1000),
        (spec.get("distinguisherMethod") or {}).get("type", ""),
        [(_who(rule), _what(rule)) for rule in spec.get("rules") or ()],
    )


def _who(rule: Tree) -> Fits:
    users, groups, accounts = set(), set(), []
    for subject in rule.get("subjects") or ():
        match subject.get("kind"):
            case "User":
                users.add((subject.get("user") or {}).get("name"))
            case "Group":
                groups.add((subject.get("group") or {}).get("name"))
            case "ServiceAccount":
                account = subject.get("serviceAccount") or {}
                accounts.append(f"{ACCOUNT_PREFIX}{account.get('namespace')}:{account.get('name')}")
    exact = {name for name in accounts if not name.endswith(":*")} | users
    starts = tuple(name[:-1] for name in accounts if name.endswith(":*"))

    def fits(user: User, found: Route) -> bool:
        if user.name in exact or "*" in exact or "*" in groups or not groups.isdisjoint(user.groups):
            return True
        return bool(starts) and user.name.startswith(starts)

    return fits


def _what(rule: Tree) -> Fits:
    resources = [_resource(each) for each in rule.get("resourceRules") or ()]
    paths = [_path(each) for each in rule.get("nonResourceRules") or ()]

    def fits(user: User, found: Route) -> bool:
        return any(each(user, found) for each in (resources if found.resource else paths))

    return fits


def _has(values: Iterable[str], value: str) -> bool:
    return value in values or "*" in values


def _resource(rule: Tree) -> Fits:
    verbs, groups, resources, namespaces = (
        frozenset(rule.get(field) or ()) for field in ("verbs", "apiGroups", "resources", "namespaces")
    )
    cluster = bool(rule.get("clusterScope"))

    def fits(user: User, found: Route) -> bool:
        whole = f"{found.resource}/{found.subresource}" if found.subresource else found.resource
        if not (_has(verbs, found.verb) and _has(groups, found.group) and _has(resources, whole)):
            return False
        return _has(namespaces, found.namespace) if found.namespace else cluster

    return fits


def _path(rule: Tree) -> Fits:
    verbs, urls = frozenset(rule.get("verbs") or ()), tuple(rule.get("nonResourceURLs") or ())

    def fits(user: User, found: Route) -> bool:
        if not _has(verbs, found.verb):
            return False
        return any(url in ("*", found.path) or (url.endswith("*") and found.path.startswith(url[:-1])) for url in urls)

    return fits
