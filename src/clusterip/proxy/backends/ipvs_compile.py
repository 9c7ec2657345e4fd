"""Plans to parts: one part a Service, one for each piece that Services share, one for chains, one fixed.

Stage: compile.  In: Plan.  Out: Compiled.
Rules: pure but for its memory: a part whose inputs are the same objects is the same object, and one changed Service
costs one Service's work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from clusterip.api.meta import ObjectKey
from clusterip.proxy.backends import Compiled
from clusterip.proxy.backends import ipvs_tables as tables
from clusterip.proxy.backends.ipvs_service import Part, compile_service
from clusterip.proxy.backends.ipvs_state import Key, Value
from clusterip.proxy.backends.ipvs_tables import Portal
from clusterip.proxy.model import Node, Plan, ServicePlan

FIXED, CHAINS = "fixed", "chains"


@dataclass(slots=True)
class _Piece:
    """Something that several Services need, and how many do."""

    value: Mapping[Key, Value]
    count: int = 0


class Compiler:
    """Keeps what it made. `unknown` collects ports that want a scheduler that does not exist."""

    def __init__(self, mark: int, scheduler: str) -> None:
        self._mark, self._scheduler = mark, scheduler
        self.unknown: set[tuple[str, str]] = set()
        self._forget(None)

    def _forget(self, node: Node | None) -> None:
        self._node = node
        self._revision = 0
        self._made: dict[ObjectKey, tuple[ServicePlan, Part]] = {}
        self._pieces: dict[Hashable, _Piece] = {}
        self._filled: Counter[str] = Counter()
        self._closed: Counter[Portal] = Counter()
        self._wanted: tables.Wanted | None = None
        self._parts: dict[Hashable, Mapping[Key, Value]] = {}

    def compile(self, plan: Plan) -> Compiled[Key, Value]:
        if plan.node != self._node:
            self._forget(plan.node)
            self._parts[FIXED] = tables.set_specs(plan.node.family) | tables.jumps()
            names: Iterable[ObjectKey] | None = None
        else:
            names = plan.changed_since(self._revision)
        changed: set[Hashable] = set()
        for key in self._candidates(plan) if names is None else names:
            self._remake(key, plan, changed)
        if changed:
            self._parts = dict(self._parts)
            self._apply(changed)
        self._write_chains(plan.node, changed)
        self._revision = plan.revision
        return Compiled(self._parts, None if names is None else frozenset(changed))

    def _candidates(self, plan: Plan) -> list[ObjectKey]:
        gone = [key for key in self._made if key not in plan.services]
        return gone + [key for key, service in plan.services.items() if self._made.get(key, (None,))[0] is not service]

    def _remake(self, key: ObjectKey, plan: Plan, changed: set[Hashable]) -> None:
        """One Service: its new part is counted before the old one, so that what both need stays."""
        service, known = plan.services.get(key), self._made.pop(key, None)
        if service is not None:
            part = known[1] if known and known[0] is service else compile_service(service, plan.node, self._scheduler)
            self.unknown |= part.unknown
            self._made[key] = (service, part)
            self._take(part, changed)
        if known is not None:
            self._release(known[1], changed)
        changed.add(key)

    def _take(self, part: Part, changed: set[Hashable]) -> None:
        for name, value in part.shared.items():
            piece = self._pieces.get(name)
            if piece is None:
                piece = self._pieces[name] = _Piece(value)
                changed.add(name)
            piece.count += 1
        self._filled.update(part.filled)
        self._closed.update(part.closed)

    def _release(self, part: Part, changed: set[Hashable]) -> None:
        for name in part.shared:
            piece = self._pieces[name]
            piece.count -= 1
            if not piece.count:
                del self._pieces[name]
                changed.add(name)
        self._filled.subtract(part.filled)
        self._closed.subtract(part.closed)

    def _apply(self, changed: set[Hashable]) -> None:
        for name in changed:
            value: Mapping[Key, Value] | None = None
            if isinstance(name, ObjectKey):
                value = self._made[name][1].own if name in self._made else None
            elif name in self._pieces:
                value = self._pieces[name].value
            if value is None:
                self._parts.pop(name, None)
            else:
                self._parts[name] = value

    def _write_chains(self, node: Node, changed: set[Hashable]) -> None:
        filled = frozenset(name for name, count in self._filled.items() if count)
        closed = tuple(sorted(portal for portal, count in self._closed.items() if count))
        wanted = tables.Wanted(node, self._mark, filled, closed)
        if wanted != self._wanted:
            self._wanted = wanted
            self._parts = {**self._parts, CHAINS: tables.chains(wanted)}
            changed.add(CHAINS)
