"""BFD control packets as bytes.

Stage: plan.  In: values; bytes of a router.  Out: bytes; values, or Dropped with the reason.
Rules: pure; whatever bytes come, Dropped is all that is raised.  Authentication is not spoken: such
packets are dropped.
Truth: RFC 5880 4.1 and the first half of 6.8.6; times are microseconds on the wire.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

VERSION, LENGTH = 1, 24
POLL, FINAL, AUTHENTICATED, DEMAND, MULTIPOINT = 0x20, 0x10, 0x04, 0x02, 0x01


class State(IntEnum):
    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3


class Reason(IntEnum):
    """Diagnostic codes: why a session left the state UP."""

    NONE = 0
    SILENCE = 1
    ECHO = 2
    NEIGHBOUR = 3
    FORWARDING = 4
    PATH = 5
    ADMIN = 7


class Dropped(ValueError):
    """Nothing that concerns a session."""


@dataclass(frozen=True, slots=True)
class Packet:
    """What one end says; times in microseconds."""

    state: State
    mine: int
    yours: int = 0
    reason: int = 0
    multiplier: int = 3
    transmit: int = 1_000_000  # how often it would like to send, at most
    receive: int = 1_000_000  # how often it can receive; 0: it wants nothing
    echo: int = 0
    poll: bool = False
    final: bool = False
    demand: bool = False


def write(said: Packet) -> bytes:
    flags = said.state << 6 | POLL * said.poll | FINAL * said.final | DEMAND * said.demand
    head = (VERSION << 5 | said.reason, flags, said.multiplier, LENGTH)
    return struct.pack("!4B5I", *head, said.mine, said.yours, said.transmit, said.receive, said.echo)


def read(octets: bytes) -> Packet:
    if len(octets) < LENGTH:
        raise Dropped(f"{len(octets)} bytes are too few")
    first, flags, multiplier, length, *numbers = struct.unpack_from("!4B5I", octets)
    mine, yours, transmit, receive, echo = numbers
    is_set = {name: bool(flags & bit) for name, bit in (("poll", POLL), ("final", FINAL), ("demand", DEMAND))}
    said = Packet(State(flags >> 6), mine, yours, first & 0x1F, multiplier, transmit, receive, echo, **is_set)
    if why := _why_not(said, first >> 5, flags, length, len(octets)):
        raise Dropped(why)
    return said


def _why_not(said: Packet, version: int, flags: int, length: int, size: int) -> str:
    if version != VERSION:
        return f"version {version}"
    if not LENGTH <= length <= size:
        return f"a length of {length} in {size} bytes"
    if flags & AUTHENTICATED:
        return "authenticated, and nobody agreed upon that"
    if flags & MULTIPOINT or not said.multiplier or not said.mine:
        return "no multiplier, no discriminator, or for many"
    if not said.yours and said.state not in (State.DOWN, State.ADMIN_DOWN):
        return f"for nobody, in state {said.state.name}"
    return ""
