"""Operations that wait for others: run, told what is missing, asked, run again with the answers.

Stage: shell around the write path.  In: an operation that may raise Pending.  Out: its answer.
Rules: an operation stays a pure function of its transaction, so that it is run again rather than suspended: nothing is
       held while a webhook thinks, and what changed meanwhile makes the answer unfit.  From the first Pending on each
       run sees the same time and the same chance, so that equal states make equal objects.
"""

from __future__ import annotations

import random  # noqa: TID251 - what was drawn once is drawn again
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from clusterip.api.errors import ApiError
from clusterip.apiserver.admissionnumbers import tally

if TYPE_CHECKING:
    from clusterip.apiserver.core import Call, Core

T = TypeVar("T")
TRIES = 16
BUSY = (
    "the object changed each time that admission webhooks were asked; please apply your changes to the latest version"
)


class Pending(ApiError):
    """Something is missing; `fetch` gets it, then the operation may be run again."""

    def __init__(self, fetch: Callable[[], Awaitable[None]]) -> None:
        super().__init__(500, "InternalError", "an answer of a webhook is missing")
        self.fetch = fetch


@dataclass(slots=True)
class Consulted:
    """What a call has been told so far, and the moment and the chance that all its runs share."""

    now: datetime
    seed: int
    answers: dict[Any, Any] = field(default_factory=dict)


class _Moment:
    """A clock that stands."""

    def __init__(self, now: datetime, monotonic: float) -> None:
        self._now, self._monotonic = now, monotonic

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic


@contextmanager
def replayed(core: Core, consulted: Consulted) -> Iterator[None]:
    """The same time and chance as at the first run; only for what does not wait."""
    clock, chance = core.clock, core.random
    core.clock, core.random = _Moment(consulted.now, clock.monotonic()), random.Random(consulted.seed)
    try:
        yield
    finally:
        core.clock, core.random = clock, chance


async def settled(core: Core, call: Call, run: Callable[[], Awaitable[T]]) -> T:
    """What `run` answers once nothing is missing; what its last run counted counts."""
    try:
        return await _settled(core, call, run)
    finally:
        tally(call.tallies)
        call.tallies.clear()


async def _settled(core: Core, call: Call, run: Callable[[], Awaitable[T]]) -> T:
    try:
        return await run()
    except Pending:
        if call.consulted is None:
            call.consulted = Consulted(core.clock.now(), core.random.getrandbits(64))
    for _ in range(TRIES):
        call.tallies.clear()
        try:
            return await run()
        except Pending as pending:
            await pending.fetch()
    resource = call.served.resource
    raise ApiError.conflict(resource.group, resource.plural, call.name, BUSY)
