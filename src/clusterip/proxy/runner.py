"""Keep the kernel as the plan says: forget, commit, remember, come back for what is due.

Stage: diff and commit.  In: snapshots, when told that something changed.  Out: a backend's state.
Rules: one runner for all modes; the kernel is read at start, after an error and after a foreign change, never else;
changes that arrive together are made together, nothing waits longer than a few milliseconds for company; one part that
the kernel refuses leaves the others alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NoReturn, TypeAlias, TypeVar

from clusterip.clock import Clock
from clusterip.diff import Changes, diff
from clusterip.proxy.backends import Backend, Refused
from clusterip.proxy.model import Plan

K = TypeVar("K")
V = TypeVar("V")
Parts: TypeAlias = Mapping[Hashable, Mapping[K, V]]
logger = logging.getLogger(__name__)

COALESCE_SECONDS = 0.002
DUE_SECONDS = 0.01
RETRY_SECONDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Synced:
    """What one sync did."""

    plan: Plan
    changes: int
    seconds: float
    was_full: bool


@dataclass(slots=True)
class _Programmed(Generic[K, V]):
    """What the kernel holds, as far as we know: the parts, and removals still to be made."""

    parts: Mapping[Hashable, Mapping[K, V]] = field(default_factory=dict)
    due: Mapping[K, V] = field(default_factory=dict)


class Runner(Generic[K, V]):
    """Programs plans. `wake` may be called at any time from the loop."""

    def __init__(
        self,
        backend: Backend[K, V],
        plan: Callable[[], Plan],
        clock: Clock,
        *,
        on_synced: Callable[[Synced], None] = lambda synced: None,
        on_failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._backend, self._plan, self._clock = backend, plan, clock
        self._on_synced, self._on_failed = on_synced, on_failed
        self._programmed: _Programmed[K, V] | None = None
        self._refused: dict[Hashable, Mapping[K, V]] = {}
        self._doubted = False
        self._wanted = asyncio.Event()

    @property
    def is_awake(self) -> bool:
        """Whether there is more to do already."""
        return self._wanted.is_set()

    def wake(self) -> None:
        """Something changed: make and program a new plan soon."""
        self._wanted.set()

    def doubt(self) -> None:
        """Somebody else changed the kernel's state: read it and repair."""
        self._doubted = True
        self._wanted.set()

    async def run(self) -> NoReturn:
        """Program whenever woken, for ever."""
        failures = 0
        while True:
            await self._wanted.wait()
            await asyncio.sleep(COALESCE_SECONDS)
            self._wanted.clear()
            try:
                await self.sync()
                failures = 0
            except Refused as error:
                delay = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                failures += 1
                values = {"mode": self._backend.mode, "retryInSeconds": delay, "err": error}
                logger.error("Cannot program the kernel, the old rules stand", extra={"kv": values})
                self._on_failed()
                await asyncio.sleep(RETRY_SECONDS[0])  # also when changes keep coming
                await self._pause(delay)
                self._wanted.set()
            if self._programmed and self._programmed.due:
                await self._pause(DUE_SECONDS)
                self._wanted.set()
            elif self._refused:
                await self._pause(RETRY_SECONDS[-1])
                self._forgive()

    def _forgive(self) -> None:
        """Try refused parts again: the reason may have been the kernel's."""
        if not self._wanted.is_set():
            self._refused = {}
            self.doubt()

    async def _pause(self, seconds: float) -> None:
        """Wait, but not when there is work."""
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            pass

    async def sync(self) -> Synced:
        """Bring the kernel to the present plan."""
        started = self._clock.monotonic()
        known = None if self._doubted else self._programmed
        self._programmed, self._doubted = None, False  # until the kernel agrees, we know nothing
        plan = self._plan()
        parts = self._without_refused(self._backend.compile(plan).parts)
        if known is None:
            programmed, count = await self._start(parts)
        else:
            changes = with_due(diff_parts(known.parts, parts), known.due)
            due: Changes[K, V] = await self._backend.commit(changes) if changes else Changes()
            programmed, count = _Programmed(parts, due.remove), len(changes)
        self._programmed = programmed
        synced = Synced(plan, count, self._clock.monotonic() - started, known is None)
        self._on_synced(synced)
        return synced

    def _without_refused(self, parts: Parts[K, V]) -> Parts[K, V]:
        """The parts but for those that the kernel has refused and that are still the same."""
        self._refused = {name: part for name, part in self._refused.items() if parts.get(name) is part}
        return {name: part for name, part in parts.items() if name not in self._refused} if self._refused else parts

    async def _start(self, parts: Parts[K, V]) -> tuple[_Programmed[K, V], int]:
        """From what the kernel holds to the parts; when they are refused together, all but the guilty ones."""
        changes = diff(await self._backend.read(), _flat(parts))
        if not changes:
            return _Programmed(parts), 0
        try:
            due = await self._backend.commit(changes)
        except Refused as error:
            good = await self._commit_apart(list(parts.items()), error)
            if not good:  # it is not a part's fault
                self._refused = {}
                raise
            changes = diff(await self._backend.read(), _flat(good))
            due = await self._backend.commit(changes) if changes else Changes()
            return _Programmed(good, due.remove), len(changes)
        return _Programmed(parts, due.remove), len(changes)

    async def _commit_apart(self, parts: list[tuple[Hashable, Mapping[K, V]]], reason: Refused) -> Parts[K, V]:
        """Commit half by half until each part is in the kernel or known to be refused; those that are in."""
        if len(parts) == 1:
            name, part = parts[0]
            self._refused[name] = part
            values = {"part": name, "err": reason}
            logger.error("The kernel refuses one part, going on without it", extra={"kv": values})
            return {}
        good: dict[Hashable, Mapping[K, V]] = {}
        for half in (parts[: len(parts) // 2], parts[len(parts) // 2 :]):
            state = await self._backend.read()
            changes = diff({key: state[key] for key in _flat(dict(half)) if key in state}, _flat(dict(half)))
            try:
                if changes:
                    await self._backend.commit(changes)
                good |= half
            except Refused as error:
                good |= await self._commit_apart(half, error)
        return good


def _flat(parts: Mapping[Hashable, Mapping[K, V]]) -> dict[K, V]:
    return {key: value for part in parts.values() for key, value in part.items()}


def diff_parts(old: Mapping[Hashable, Mapping[K, V]], new: Mapping[Hashable, Mapping[K, V]]) -> Changes[K, V]:
    """As diff, but parts that are the same object are not looked at."""
    put: dict[K, V] = {}
    remove: dict[K, V] = {}
    empty: Mapping[K, V] = {}
    for name, part in new.items():
        before = old.get(name, empty)
        if before is not part:
            changes = diff(before, part)
            put |= changes.put
            remove |= changes.remove
    for name, part in old.items():
        if name not in new:
            remove |= part
    return _without_moves(put, remove)


def _without_moves(put: dict[K, V], remove: dict[K, V]) -> Changes[K, V]:
    """A key that went from one part to another unchanged is no change."""
    moved = [key for key, value in put.items() if key in remove and remove[key] == value]
    for key in moved:
        del put[key], remove[key]
    return Changes(put, remove)


def with_due(changes: Changes[K, V], due: Mapping[K, V]) -> Changes[K, V]:
    """Changes joined with removals that are still to be made: a key that came back stays, or is replaced."""
    return _without_moves(dict(changes.put), {**due, **changes.remove}) if due else changes
