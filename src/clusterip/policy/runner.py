"""Keep one family's policy table as the picture says.

Stage: diff and commit.  In: pictures, when told that something changed.  Out: the kernel's table, all or nothing.
Rules: a change costs what it changes; the kernel is read at start, after an error, after a foreign change and once an
hour.  What cannot be programmed leaves the old rules, which go on, and is tried again, later and later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import NoReturn

from clusterip.clock import Clock, SystemClock
from clusterip.diff import Changes, diff, diff_parts, flat
from clusterip.kernel.nft import TABLE, Key, Kind, Nft, NftError, SetSpec, State, TableSpec, Value
from clusterip.policy import metrics
from clusterip.policy.compile import Compiler
from clusterip.policy.model import Picture
from clusterip.policy.table import table
from clusterip.transport.exposition import Registry

logger = logging.getLogger(__name__)

Parts = Mapping[Hashable, Mapping[Key, Value]]
RETRY_SECONDS = (0.1, 0.5, 1.0, 5.0, 30.0)
REPAIR_SECONDS = 1.0  # between two repairs of what others change
READ_SECONDS = 3600.0


class Runner:
    """Programs pictures. `wake` and `doubt` may be called at any time from the loop."""

    def __init__(
        self,
        family: str,
        nft: Nft,
        picture: Callable[[], Picture],
        numbers: Registry | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.table = table(family)
        self._numbers, self._family, self._clock = numbers or Registry(metrics.METRICS), family, clock or SystemClock()
        self._nft, self._picture = nft, picture
        self._compiler = Compiler(family)
        self._known: Parts | None = None
        self._doubted = False  # since the last sync began
        self._wanted = asyncio.Event()
        self.programmed = asyncio.Event()
        self._failures = 0

    def wake(self) -> None:
        """Something changed."""
        self._wanted.set()

    def doubt(self) -> None:
        """Somebody else changed the table: read it, and repair."""
        self._doubted = True
        self._wanted.set()

    async def run(self) -> NoReturn:
        """Program whenever woken, for ever."""
        while True:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                self._doubted = True
            await asyncio.sleep(0)  # what has arrived already comes along
            self._wanted.clear()
            await self._attempt()

    async def _attempt(self) -> None:
        was_known, started = self._known is not None and not self._doubted, self._clock.monotonic()
        try:
            count = await self.sync()
        except NftError as error:
            self._numbers.count(metrics.FAILURES, family=self._family)
            delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
            self._failures += 1
            values = {"table": str(self.table), "retryInSeconds": delay, "err": error}
            logger.error("Cannot program policies, the old rules stand", extra={"kv": values})
            await asyncio.sleep(delay)
            self._wanted.set()
            return
        self._failures = 0
        self._numbers.observe(metrics.SECONDS, self._clock.monotonic() - started, family=self._family)
        if self.programmed.is_set() and not was_known and count:
            self._numbers.count(metrics.REPAIRS, family=self._family)
            logger.warning("The table was not as it should be; repaired", extra={"kv": {"table": str(self.table)}})
            await asyncio.sleep(REPAIR_SECONDS)
        self.programmed.set()

    async def sync(self) -> int:
        """Bring the kernel to the present picture; the number of changes."""
        known = None if self._doubted else self._known
        self._known, self._doubted = None, False  # until the kernel agrees, we know nothing
        parts = self._compiler.compile(self._picture())
        if known is None:
            changes = _repair(await self._nft.read(self.table), parts)
        else:
            changes = diff_parts(*(_only(each, self._compiler.changed) for each in (known, parts)))
        if changes:
            await self._nft.commit(self.table, changes)
            self._numbers.count(metrics.COMMITS, family=self._family)
            self._numbers.count(metrics.CHANGES, len(changes), family=self._family)
        self._known = parts
        return len(changes)

    async def remove(self) -> bool:
        """Have no such table; whether there was one."""
        self._known = None
        if TABLE not in await self._nft.read(self.table):
            return False
        await self._nft.commit(self.table, Changes(remove={TABLE: TableSpec("")}))
        return True


def _only(parts: Parts, names: Collection[Hashable]) -> Parts:
    return {name: parts[name] for name in names if name in parts}


def _repair(state: State, parts: Parts) -> Changes[Key, Value]:
    """From what the kernel holds to the parts; where the table or a set is another than ours, the whole table."""
    wanted = flat(parts)
    changes = diff(state, wanted)
    if any(_is_fixed(key, value, state.get(key)) for key, value in changes.put.items()):
        return Changes(put=wanted, remove=state)
    return changes


def _is_fixed(key: Key, new: Value, old: Value | None) -> bool:
    """Whether the kernel cannot change the one into the other."""
    if old is None or old == new:
        return False
    return key.kind is Kind.TABLE or isinstance(new, SetSpec)
