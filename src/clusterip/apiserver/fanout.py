"""Live watches that see the same: an event is judged and framed once for all of them, and written to each in rounds.

Stage: serve.  In: changes of a collection, as they are committed.  Out: bytes to sinks.
Rules: a round gives every watcher all that has come since its last one, as one buffer, a few watchers at a time, so
       that requests are answered in between and a server that falls behind writes less often, not later and later; a
       watcher that does not take its bytes is given back to whoever sent it here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from clusterip.apiserver.cache import Change, Collection
from clusterip.transport.answers import Sink
from clusterip.transport.request import Sizes

log = logging.getLogger(__name__)

SLOW = 1024 * 1024  # bytes a watcher may leave untaken, before it is sent only what it takes
AT_ONCE = 64  # watchers between two looks at what else there is to do
FAN = -2  # its place among a collection's watchers
NOWHERE = -1

Frame = Callable[[Change], bytes]
"""What a change looks like to those of a group; nothing when it is none of theirs."""


@dataclass(slots=True, eq=False)
class Member:
    """One watcher in a group, and how many of the group's frames it was given."""

    group: Group
    sink: Sink
    position: int
    sizes: Sizes
    """Of the frames that it was given."""
    fell_behind: Callable[[], None]

    def flush(self) -> None:
        """Write what it has not been given."""
        group, position = self.group, self.position
        if position == group.end:
            return
        joined, sizes = group.joined if group.joined_from == position else group.since(position)
        self.position = group.end
        self.sizes.extend(sizes)
        if self.sink.give(joined) > SLOW:
            self.fell_behind()


@dataclass(slots=True, eq=False)
class Group:
    """Watchers of one selection in one form."""

    frame: Frame
    members: dict[int, Member] = field(default_factory=dict)
    begin: int = 0
    """The number of the first frame that is kept."""
    end: int = 0
    """The number of the next frame."""
    frames: list[bytes] = field(default_factory=list)
    joined: tuple[bytes, list[int]] = (b"", [])
    """All frames from `joined_from` on, as one buffer, and their sizes: most members ask for the same."""
    joined_from: int = NOWHERE

    def add(self, framed: bytes) -> None:
        """One frame more."""
        self.frames.append(framed)
        self.end += 1
        self.joined_from = NOWHERE

    def since(self, position: int) -> tuple[bytes, list[int]]:
        """All frames from one on."""
        frames = self.frames[position - self.begin :]
        self.joined, self.joined_from = (b"".join(frames), [len(each) for each in frames]), position
        return self.joined

    def forget(self, until: int) -> None:
        """Every member has the frames before this."""
        del self.frames[: until - self.begin]
        self.begin = until
        self.joined, self.joined_from = (b"", []), NOWHERE

    def abort(self) -> None:
        """End them all: they begin again with a list."""
        for member in self.members.values():
            member.sink.abort()


class Fan:
    """All groups of one collection."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._groups: dict[Hashable, Group] = {}
        self._round: deque[Member] = deque()
        self._ends: dict[Hashable, int] = {}
        self._is_running = False
        collection.watchers[FAN] = self._heard

    def join(
        self,
        key: Hashable,
        number: int,
        frame: Frame,
        sink: Sink,
        sizes: Sizes,
        fell_behind: Callable[[], None],
    ) -> Member:
        """Be told of every later change; who has the same key is told the same."""
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(frame)
        member = group.members[number] = Member(group, sink, group.end, sizes, fell_behind)
        return member

    def leave(self, key: Hashable, number: int) -> None:
        """No more."""
        group = self._groups[key]
        del group.members[number]
        if not group.members:
            del self._groups[key]

    def _heard(self, change: Change) -> None:
        for group in self._groups.values():
            try:
                framed = group.frame(change)
            except Exception:  # one object that has no such form ends those who asked for it so, and nobody else
                log.exception("%s cannot be told to %d watchers", change.entry.key, len(group.members))
                group.abort()
                continue
            if framed:
                group.add(framed)
                if not self._is_running:
                    self._begin()

    def _begin(self) -> None:
        self._is_running = True
        asyncio.get_running_loop().call_soon(self._go_round)

    def _go_round(self) -> None:
        if not self._round:
            self._ends = {key: group.end for key, group in self._groups.items() if group.frames}
            self._round.extend(member for key in self._ends for member in self._groups[key].members.values())
        for _ in range(min(AT_ONCE, len(self._round))):
            member = self._round.popleft()
            try:
                member.flush()
            except Exception:
                log.exception("A watcher could not be told")
                member.sink.abort()
        if not self._round:
            self._finish()
        if self._is_running:
            asyncio.get_running_loop().call_soon(self._go_round)

    def _finish(self) -> None:
        """All have what there was when the round began; more may have come."""
        for key, end in self._ends.items():
            if (group := self._groups.get(key)) is not None and group.begin < end:
                group.forget(end)
        self._is_running = any(group.frames for group in self._groups.values())


def fan_of(collection: Collection) -> Fan:
    """The collection's own."""
    if collection.fan is None:
        collection.fan = Fan(collection)
    return collection.fan
