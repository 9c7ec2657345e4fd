"""The first packet of a connection, and what becomes of it.

Stage: none; values.  Rules: pure.  `plan.decide` says which packet gets which verdict, in every mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from clusterip.proxy.model import Drop, IPAddress, Reject


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection. One without an interface was made on this node."""

    source: IPAddress
    destination: IPAddress
    protocol: str
    port: int
    interface: str = ""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Not for a Service: the packet goes its way."""


class Delivery(NamedTuple):
    """One way that a packet may take, and whether the endpoint sees the node's address instead of the sender's."""

    address: IPAddress
    port: int
    masqueraded: bool


@dataclass(frozen=True, slots=True)
class Deliver:
    """The packet goes to one of these."""

    ways: frozenset[Delivery]


Verdict: TypeAlias = Ignore | Drop | Reject | Deliver
