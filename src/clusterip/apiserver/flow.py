"""Fair turns: how many requests are at work at once, and whose is next when too many want to be.

Stage: decide; asyncio futures are its only contact with the world.  In: lanes and seats.  Out: a turn, or TooMany.
A request takes seats of its priority level until it is answered.  When a level has none left, or when this turn of the
loop has lasted too long already (most answers need the processor and nothing else), the request waits in one of the
level's queues: a hand of queues is dealt to each flow by hashing, the shortest of the hand is taken, and the queue that
was served least goes first.  So whoever asks for much fills its own hand, and others go past it.
Rules: the exempt level never waits; idle seats of other levels may be borrowed as far as those lend them.
Truth: KEP-1040; apiserver's util/flowcontrol and util/shufflesharding.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

TURN_SECONDS = 0.010  # of one loop turn, before others have to wait for the next
TURN_SEATS = 32  # that waiting requests get together in a turn, at least one a level
WAIT_SECONDS = 15.0


class TooMany(Exception):
    """No room for one more; why, as the numbers call it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Waiter:
    """A request in a queue."""

    __slots__ = ("future", "lane", "seats")

    def __init__(self, lane: Lane, seats: int, future: asyncio.Future[None]) -> None:
        self.lane, self.seats, self.future = lane, seats, future


class Queue:
    """Requests of the flows that were dealt this queue, and how much it was served."""

    __slots__ = ("seats", "served", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Waiter] = deque()
        self.seats = 0
        self.served = 0.0


@dataclass(slots=True, eq=False)
class Level:
    """One priority level. Without queues, what is too much is refused."""

    name: str
    uid: str = ""
    exempt: bool = False
    nominal: int = 1
    lendable: int = 0
    borrowable: int | None = None
    """Seats that it may take of others; None: as many as they lend."""
    queues: list[Queue] = field(default_factory=list)
    hand: int = 1
    length: int = 0
    seats: int = 0
    """Taken now."""
    waiting: int = 0
    time: float = 0.0
    """How much the queue served last has had: where a queue begins that was empty."""

    def spare(self) -> int:
        """Seats that others may take now."""
        return min(self.lendable, max(0, self.nominal - self.seats))


@dataclass(slots=True, eq=False)
class Lane:
    """One flow of one schema: what its requests wait in, and what they are counted as."""

    level: Level
    schema: str
    uid: str = ""
    cards: Sequence[int] = ()
    requests: int = 0
    seats: int = 0
    waiting: int = 0
    waiting_seats: int = 0
    dispatched: int = 0


class Gate:
    """Who may work now."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._turn = 0.0
        self._levels: list[Level] = []
        self._woken = False

    @property
    def levels(self) -> Sequence[Level]:
        return self._levels

    def use(self, levels: Iterable[Level]) -> None:
        """The levels from now on; those that went stay until nobody waits in them."""
        fresh = list(levels)
        self._levels = fresh + [old for old in self._levels if old not in fresh and (old.waiting or old.seats)]

    def enter(self, lane: Lane, seats: int = 1) -> bool:
        """Take seats, if that can be without waiting."""
        level = lane.level
        if not level.exempt and (level.waiting or self._is_late() or not self._has_room(level, seats)):
            return False
        self._take(lane, seats)
        return True

    def _take(self, lane: Lane, seats: int) -> None:
        lane.level.seats += seats
        lane.seats += seats
        lane.requests += 1
        lane.dispatched += 1

    def leave(self, lane: Lane, seats: int = 1) -> None:
        """Give seats back."""
        level = lane.level
        level.seats -= seats
        lane.seats -= seats
        lane.requests -= 1
        if not self._woken and any(other.waiting for other in self._levels):
            self._wake()

    def _is_late(self) -> bool:
        """Whether this turn of the loop has lasted long; the first who asks begins it."""
        now = self._now()
        if not self._turn:
            self._turn = now
            asyncio.get_running_loop().call_soon(self._next_turn)
            return False
        return now - self._turn > TURN_SECONDS

    def _has_room(self, level: Level, seats: int) -> bool:
        return level.seats == 0 or level.seats + seats <= level.nominal or level.seats + seats <= self.limit(level)

    def limit(self, level: Level) -> int:
        """Seats that a level may take now, borrowed ones included."""
        spare = sum(other.spare() for other in self._levels if other is not level and not other.exempt)
        borrowed = sum(max(0, other.seats - other.nominal) for other in self._levels if other is not level)
        return level.nominal + max(0, min(spare - borrowed, spare if level.borrowable is None else level.borrowable))

    async def wait(self, lane: Lane, seats: int = 1) -> None:
        """Wait for seats and take them; TooMany when there is no room to wait in, or it took too long."""
        level, waiter = lane.level, Waiter(lane, seats, asyncio.get_running_loop().create_future())
        queue = self._queue(lane, seats)
        if not queue.waiting:
            queue.served = max(queue.served, level.time)
        queue.waiting.append(waiter)
        self._count(waiter, queue, 1)
        if not self._woken:
            self._wake()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await waiter.future
        except BaseException as error:
            self._give_up(waiter, queue)
            if isinstance(error, TimeoutError):
                raise TooMany("time-out") from None
            raise

    def _queue(self, lane: Lane, seats: int) -> Queue:
        """The shortest queue of the flow's hand."""
        level = lane.level
        if not level.queues:
            raise TooMany("concurrency-limit")
        queue = min((level.queues[card] for card in lane.cards), key=lambda each: each.seats)
        # seats that are free now are room too: only the turn of the loop is over
        if len(queue.waiting) >= level.length + max(0, level.nominal - level.seats):
            raise TooMany("queue-full")
        return queue

    def _count(self, waiter: Waiter, queue: Queue, sign: int) -> None:
        queue.seats += sign * waiter.seats
        waiter.lane.level.waiting += sign
        waiter.lane.waiting += sign
        waiter.lane.waiting_seats += sign * waiter.seats

    def _give_up(self, waiter: Waiter, queue: Queue) -> None:
        """Its client left, or waited too long."""
        if waiter.future.done() and not waiter.future.cancelled():
            self.leave(waiter.lane, waiter.seats)  # it was let in at this very moment
        elif waiter in queue.waiting:
            queue.waiting.remove(waiter)
            self._count(waiter, queue, -1)

    def _wake(self) -> None:
        self._woken = True
        asyncio.get_running_loop().call_soon(self._dispatch)

    def _next_turn(self) -> None:
        self._turn = 0.0

    def _dispatch(self) -> None:
        """Let in those whose turn it is; again in the next turn of the loop while that is what they wait for."""
        self._woken = False
        total = sum(level.nominal for level in self._levels if level.waiting) or 1
        blocked = True
        for level in self._levels:
            if level.waiting:
                share = max(1, TURN_SEATS * level.nominal // total)
                blocked = self._serve(level, share) and blocked
        if not blocked:
            self._wake()

    def _serve(self, level: Level, share: int) -> bool:
        """Let in up to a share of seats; whether what is left waits for seats rather than for the next turn."""
        while level.waiting and share > 0:
            queue = min((each for each in level.queues if each.waiting), key=lambda each: each.served)
            waiter = queue.waiting[0]
            if not self._has_room(level, waiter.seats):
                return True
            queue.waiting.popleft()
            self._count(waiter, queue, -1)
            level.time = queue.served
            queue.served += waiter.seats
            share -= waiter.seats
            if not waiter.future.done():
                self._take(waiter.lane, waiter.seats)
                waiter.future.set_result(None)
        return not level.waiting


def deal(number: int, deck: int, hand: int) -> list[int]:
    """Different cards out of a deck, dealt by a number."""
    cards: list[int] = []
    for dealt in range(hand):
        number, card = divmod(number, deck - dealt)
        for other in sorted(cards):
            card += card >= other
        cards.append(card)
    return cards


def seats_of(total: int, shares: int, all_shares: int) -> int:
    """The seats that shares of all seats are."""
    return math.ceil(total * shares / all_shares) if all_shares else 1
