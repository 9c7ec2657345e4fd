"""Which speakers live: each tells every other ten times a second, and who is silent for a while is taken for dead.

Stage: plan.  In: the peers, datagrams, the time.  Out: datagrams, the living.
Rules: no socket and no clock here.  A datagram counts only when its sender knows the secret and has heard from us (it
returns the number that we chose at start), so nothing recorded is believed.  Who was stopped itself blames nobody.
Truth: this file is the protocol; it takes the place of MetalLB's memberlist (same port, same Secret), whose failure
detector needs seconds; a mixture of the two is not possible.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from hashlib import sha256

INTERVAL = 0.1
SILENCE = 6  # intervals
CROWD = 20  # peers with whom the interval begins to grow
MAGIC = b"clusterip speaker 1\0"
HEAD = struct.Struct("!20sBQQQB")
DIGEST = 16
BEAT, LEAVE = 1, 2
LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Message:
    """What one speaker tells another."""

    kind: int
    sender: str
    own: int  # the sender's number of this life
    echo: int  # the receiver's number, as the sender knows it; 0: unknown
    sequence: int

    def to_wire(self, key: bytes) -> bytes:
        name = self.sender.encode()
        head = HEAD.pack(MAGIC, self.kind, self.own, self.echo, self.sequence, len(name)) + name
        return head + _digest(key, head)


def from_wire(raw: bytes, key: bytes) -> Message | None:
    """The message; None when it is none, or of somebody without the secret."""
    if not HEAD.size + DIGEST < len(raw) <= HEAD.size + DIGEST + LONGEST_NAME:
        return None
    head, digest = raw[:-DIGEST], raw[-DIGEST:]
    if not hmac.compare_digest(digest, _digest(key, head)):
        return None
    magic, kind, own, echo, sequence, length = HEAD.unpack_from(head)
    name = head[HEAD.size :]
    if magic != MAGIC or length != len(name) or kind not in (BEAT, LEAVE):
        return None
    return Message(kind, name.decode(errors="replace"), own, echo, sequence)


def _digest(key: bytes, head: bytes) -> bytes:
    return hmac.new(key, head, sha256).digest()[:DIGEST]


@dataclass(slots=True)
class _Peer:
    own: int = 0  # its number of this life
    sequence: int = -1
    heard: float = 0.0
    lives: bool = False


class Members:
    """What one speaker knows of the others."""

    def __init__(self, me: str, key: bytes, number: int) -> None:
        self.me, self._key, self._number = me, key, number
        self._peers: dict[str, _Peer] = {}
        self._sequence = 0

    @property
    def interval(self) -> float:
        """Seconds between two beats."""
        return INTERVAL * max(1.0, len(self._peers) / CROWD)

    @property
    def alive(self) -> frozenset[str]:
        """The nodes whose speakers live, this one among them."""
        return frozenset({self.me, *(name for name, peer in self._peers.items() if peer.lives)})

    @property
    def all_heard(self) -> bool:
        return all(peer.lives for peer in self._peers.values())

    def set_peers(self, names: set[str]) -> bool:
        """The nodes that may have speakers; whether a living one is no more among them."""
        before = self.alive
        self._peers = {name: self._peers.get(name) or _Peer() for name in sorted(names - {self.me})}
        return self.alive != before

    def message(self, peer: str, kind: int = BEAT) -> bytes:
        """What to send to a peer now."""
        self._sequence += 1
        known = self._peers.get(peer)
        return Message(kind, self.me, self._number, known.own if known else 0, self._sequence).to_wire(self._key)

    def hear(self, raw: bytes, now: float) -> tuple[bool, str]:
        """Take a datagram in: whether the living changed, and who is to be answered at once (or nobody)."""
        message = from_wire(raw, self._key)
        peer = self._peers.get(message.sender) if message is not None else None
        if message is None or peer is None:
            return False, ""
        if message.echo != self._number:  # it does not know this life of ours, or it is an old record
            if message.kind == BEAT and message.own != peer.own and not peer.lives:
                peer.own, peer.sequence = message.own, -1
                return False, message.sender
            return False, message.sender if message.kind == BEAT and message.echo == 0 else ""
        if message.own == peer.own and message.sequence <= peer.sequence:
            return False, ""
        answer = message.sender if message.own != peer.own else ""
        lived = peer.lives
        peer.own, peer.sequence, peer.heard, peer.lives = message.own, message.sequence, now, message.kind == BEAT
        return peer.lives != lived, answer

    def expire(self, now: float) -> bool:
        """Who was silent for too long is dead; whether anybody is."""
        late = [p for p in self._peers.values() if p.lives and now - p.heard > SILENCE * self.interval]
        for peer in late:
            peer.lives = False
        return bool(late)

    def excuse(self, seconds: float) -> None:
        """We did not listen for that long: nobody is to blame."""
        for peer in self._peers.values():
            peer.heard += seconds
