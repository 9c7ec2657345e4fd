"""Keep the kernel as the plan says: forget, commit, remember, come back for what is due.

Stage: diff and commit.  In: plans, when told that something changed.  Out: a backend's state.
Rules: one runner for all modes; the kernel is read at start, after an error, after a foreign change and once an hour;
each sync period the backend says whether all is intact; one part that the kernel refuses leaves the others alone.
One change among many costs what it changes: parts that the backend does not name as changed are not looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, NoReturn, TypeVar

from clusterip.clock import Clock
from clusterip.diff import Changes, Parts, diff, diff_parts, flat, patched, with_due
from clusterip.proxy.backends import Backend, Compiled, Refused
from clusterip.proxy.model import Plan
from clusterip.proxy.pace import Pace, Periods

K = TypeVar("K")
V = TypeVar("V")
logger = logging.getLogger(__name__)

DUE_SECONDS = 0.01
FORGIVE_SECONDS = (1.0, 5.0, 10.0, 30.0)
RETRY_SECONDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0)
IMPATIENT_SECONDS = 1.0  # after an error changes do not bring the next try nearer than this, or the delay
MANY_SERVICES = 500  # from here on a first load is made in two pieces
MOST_GUILTY = 16  # parts refused in one search; more of them are not the parts' fault
SEARCH_SECONDS = 20.0  # what takes longer to refuse is not a part's fault either: a lock, a program that hangs
URGENT_NAMESPACES = ("kube-system",)
URGENT = (("default", "kubernetes"),)


@dataclass(frozen=True, slots=True)
class Synced:
    """What one sync did."""

    plan: Plan
    changes: int
    seconds: float
    was_full: bool


@dataclass(frozen=True, slots=True)
class _Programmed(Generic[K, V]):
    """What the kernel holds, as far as we know: the parts but for those refused, and removals still to be made."""

    parts: Parts[K, V] = field(default_factory=dict)
    refused: frozenset[Hashable] = frozenset()
    due: Mapping[K, V] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Search:
    """A search for refused parts: what began it, and when it is given up."""

    reason: Refused
    most: int
    until: float


class Runner(Generic[K, V]):
    """Programs plans. `wake` and `doubt` may be called at any time from the loop."""

    def __init__(
        self,
        backend: Backend[K, V],
        plan: Callable[[], Plan],
        clock: Clock,
        *,
        periods: Periods | None = None,
        on_synced: Callable[[Synced], None] = lambda synced: None,
        on_intact: Callable[[], None] = lambda: None,
        on_failed: Callable[[], None] = lambda: None,
        on_refused: Callable[[Hashable, str], None] = lambda part, why: None,
    ) -> None:
        self._backend, self._plan, self._clock = backend, plan, clock
        self._periods = periods or Periods()
        self._on_synced, self._on_intact, self._on_failed = on_synced, on_intact, on_failed
        self._on_refused = on_refused
        self._pace = Pace(self._periods.min_sync_seconds)
        self._programmed: _Programmed[K, V] | None = None
        self._refused: dict[Hashable, Mapping[K, V]] = {}
        self._doubted = False
        self._failures = self._forgiven = 0
        self._wanted = asyncio.Event()
        self._looked_at = self._read_at = self._refused_at = clock.monotonic()

    @property
    def is_awake(self) -> bool:
        """Whether there is more to do already."""
        return self._wanted.is_set()

    def wake(self) -> None:
        """Something changed: make and program a new plan soon."""
        self._pace.count()
        self._wanted.set()

    def doubt(self) -> None:
        """Somebody else changed the kernel's state: read it and repair."""
        self._doubted = True
        self._wanted.set()

    # -- when ----------------------------------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Program whenever woken, for ever."""
        while True:
            await self._until_wanted()
            await self._pace.gather()
            self._wanted.clear()
            self._pace.began()
            await self._attempt()
            self._pace.ended()

    async def _attempt(self) -> None:
        """One sync; an error brings another, later and later."""
        try:
            await self.sync()
            self._failures, self._forgiven = 0, self._forgiven if self._refused else 0
        except Exception as error:
            delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
            self._failures += 1
            values = {"mode": self._backend.mode, "retryInSeconds": delay, "err": error}
            unexpected = None if isinstance(error, Refused) else error
            logger.error("Cannot program the kernel, the old rules stand", extra={"kv": values}, exc_info=unexpected)
            self._on_failed()
            await asyncio.sleep(min(delay, IMPATIENT_SECONDS))
            await self._wake_within(delay - IMPATIENT_SECONDS)
            self._wanted.set()

    async def _until_wanted(self) -> None:
        """Wait for a change, and meanwhile do what has its time."""
        while not self._wanted.is_set():
            moment, act = min(self._deadlines(), key=lambda deadline: deadline[0])
            if not await self._wake_within(moment - self._clock.monotonic()):
                await act()

    def _deadlines(self) -> Iterator[tuple[float, Callable[[], Awaitable[None]]]]:
        yield self._looked_at + self._periods.sync_seconds, self._look
        yield self._read_at + self._periods.full_read_seconds, self._read_again
        if self._programmed and self._programmed.due:
            yield self._clock.monotonic() + DUE_SECONDS, self._come_back
        if self._refused:
            yield self._refused_at + FORGIVE_SECONDS[min(self._forgiven, len(FORGIVE_SECONDS) - 1)], self._forgive

    async def _look(self) -> None:
        self._looked_at = self._clock.monotonic()
        try:
            is_intact = await self._backend.is_intact()
        except Exception as error:
            logger.warning("Cannot see whether the rules are intact", extra={"kv": {"err": error}})
            is_intact = False
        if is_intact:
            self._on_intact()
            return
        logger.warning("Rules are gone, repairing them", extra={"kv": {"mode": self._backend.mode}})
        self.doubt()

    async def _read_again(self) -> None:
        self.doubt()

    async def _come_back(self) -> None:
        self._wanted.set()

    async def _forgive(self) -> None:
        """Try refused parts again: the reason may have been the kernel's."""
        self._refused = {}
        self._forgiven += 1
        self.doubt()

    async def _wake_within(self, seconds: float) -> bool:
        """Wait for work; whether there is any."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._wanted.wait()
        except TimeoutError:
            return False
        return True

    # -- what ----------------------------------------------------------------------------------------------------------

    async def sync(self) -> Synced:
        """Bring the kernel to the present plan."""
        started = self._clock.monotonic()
        known = None if self._doubted else self._programmed
        self._programmed, self._doubted = None, False  # until the kernel agrees, we know nothing
        plan = self._plan()
        if known is None:
            self._programmed, count = await self._start(plan)
            self._read_at = self._clock.monotonic()
        else:
            self._programmed, count = await self._go_on(known, self._backend.compile(plan))
        synced = Synced(plan, count, self._clock.monotonic() - started, known is None)
        self._on_synced(synced)
        return synced

    async def _go_on(self, known: _Programmed[K, V], compiled: Compiled[K, V]) -> tuple[_Programmed[K, V], int]:
        """From what we know the kernel holds to what is wanted."""
        refused = self._still_refused(compiled.parts)
        changes = with_due(_changes(known, compiled, refused), known.due)
        due: Changes[K, V] = await self._backend.commit(changes) if changes else Changes()
        return _Programmed(compiled.parts, refused, due.remove), len(changes)

    async def _start(self, plan: Plan) -> tuple[_Programmed[K, V], int]:
        """From what the kernel holds, whatever that is."""
        state = await self._backend.read()
        if not state and len(plan.services) > MANY_SERVICES:
            state = await self._first_piece(plan)
        parts = self._backend.compile(plan).parts
        refused = self._still_refused(parts)
        changes = diff(state, flat(_without(parts, refused)))
        if not changes:
            return _Programmed(parts, refused), 0
        try:
            due = await self._backend.commit(changes)
        except Refused as error:
            logger.warning("The kernel refuses something, looking for it", extra={"kv": {"err": error}})
            return await self._without_the_guilty(parts, error)
        return _Programmed(parts, refused, due.remove), len(changes)

    async def _first_piece(self, plan: Plan) -> Mapping[K, V]:
        """On a cold start the API and DNS come first; the state after that."""
        services = {key: found for key, found in plan.services.items() if _is_urgent(*key)}
        parts = self._backend.compile(replace(plan, services=services, changed=None, revision=0, since=0)).parts
        wanted: Changes[K, V] = Changes(flat(parts))
        try:
            await self._backend.commit(wanted)
        except Refused as error:
            logger.warning("Cannot program the first Services alone", extra={"kv": {"err": error}})
            return await self._backend.read()
        return wanted.put

    def _still_refused(self, parts: Parts[K, V]) -> frozenset[Hashable]:
        """The names of parts that the kernel has refused and that are still the same."""
        if self._refused:
            self._refused = {name: part for name, part in self._refused.items() if parts.get(name) is part}
        return frozenset(self._refused)

    # -- what is refused -----------------------------------------------------------------------------------------------

    async def _without_the_guilty(self, parts: Parts[K, V], reason: Refused) -> tuple[_Programmed[K, V], int]:
        """All parts but those that the kernel does not take."""
        state = await self._backend.read()
        suspects = {name: part for name, part in parts.items() if any(state.get(k) != v for k, v in part.items())}
        guilty = dict(self._refused)
        search = _Search(reason, len(guilty) + MOST_GUILTY, self._clock.monotonic() + SEARCH_SECONDS)
        await self._search(list(suspects.items()), state, search, guilty)
        if len(guilty) == len(parts):  # it is not a part's fault
            raise reason
        self._refused, self._refused_at = guilty, self._clock.monotonic()
        refused = frozenset(guilty)
        changes = diff(await self._backend.read(), flat(_without(parts, refused)))
        due: Changes[K, V] = await self._backend.commit(changes) if changes else Changes()
        for name in guilty:
            values = {"part": name, "err": reason}
            logger.error("The kernel refuses one part, going on without it", extra={"kv": values})
            self._on_refused(name, str(reason))
        return _Programmed(parts, refused, due.remove), len(changes)

    async def _search(
        self,
        parts: list[tuple[Hashable, Mapping[K, V]]],
        state: Mapping[K, V],
        search: _Search,
        guilty: dict[Hashable, Mapping[K, V]],
    ) -> Mapping[K, V]:
        """Commit half by half until each part is in the kernel or known to be guilty; the state after that."""
        if len(guilty) >= search.most or self._clock.monotonic() > search.until:
            raise search.reason
        if len(parts) == 1:
            guilty.update(parts)
            return state
        for half in (parts[: len(parts) // 2], parts[len(parts) // 2 :]):
            wanted = flat(dict(half))
            changes = diff({key: state[key] for key in wanted if key in state}, wanted)
            try:
                if changes:
                    await self._backend.commit(changes)
                state = patched(state, changes)
            except Refused:
                state = await self._search(half, await self._backend.read(), search, guilty)
        return state


def _changes(known: _Programmed[K, V], compiled: Compiled[K, V], refused: frozenset[Hashable]) -> Changes[K, V]:
    """What changed since the kernel was last programmed, looking at named parts only when there are names."""
    if compiled.changed is None:
        return diff_parts(_without(known.parts, known.refused), _without(compiled.parts, refused))
    names = compiled.changed | known.refused | refused
    old = {name: known.parts[name] for name in names if name in known.parts and name not in known.refused}
    new = {name: compiled.parts[name] for name in names if name in compiled.parts and name not in refused}
    return diff_parts(old, new)


def _without(parts: Parts[K, V], refused: frozenset[Hashable]) -> Parts[K, V]:
    return {name: part for name, part in parts.items() if name not in refused} if refused else parts


def _is_urgent(namespace: str, name: str) -> bool:
    return namespace in URGENT_NAMESPACES or (namespace, name) in URGENT
