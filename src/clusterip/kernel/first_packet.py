"""A connection's first packet on its way through rules, and every way that it can end.

Stage: none; meaning.  In: a walk that asks `pick` where chance decides.  Out: its ending under every choice.
Rules: pure; what comes after the first packet follows its conntrack entry, which no rule decides again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Pick: TypeAlias = Callable[[int], int]
"""Of so many possibilities, the number of one."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A connection's first packet. One without an interface was made on this machine."""

    source: Address
    destination: Address
    protocol: str
    port: int
    interface: str = ""
    mark: int = 0
    translated: bool = False
    masqueraded: bool = False


class Fate(Enum):
    PASSED = "passed"
    DROPPED = "dropped"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of the packet and what it looked like then."""

    fate: Fate
    packet: Packet


class End(Exception):
    """A packet's way ends here."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate


class Accepted(Exception):
    """Accepted, as by a translation: the chain of this hook is done."""


def every_ending(walk: Callable[[Pick], Ending]) -> set[Ending]:
    """The endings of a walk under every choice: choices count up like an odometer, the last one fastest."""
    found: set[Ending] = set()
    choices: list[list[int]] = []  # [taken, of how many], in the order in which they were asked for
    while True:
        found.add(walk(_replay(choices)))
        while choices and choices[-1][0] + 1 == choices[-1][1]:
            choices.pop()
        if not choices:
            return found
        choices[-1][0] += 1


def _replay(choices: list[list[int]]) -> Pick:
    position = -1

    def pick(count: int) -> int:
        nonlocal position
        position += 1
        if position == len(choices):
            choices.append([0, count])
        return choices[position][0]

    return pick
