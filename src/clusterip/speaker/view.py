"""The world as one speaker sees it, and how a protocol takes part in it.

Stage: snapshot.  In: nothing.  Out: frozen values.
Rules: a protocol is told the whole view and which Services may have changed; it never asks the API by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from clusterip.api.metallb import Configuration, Pool
from clusterip.speaker.election import Surroundings
from clusterip.speaker.model import Key, Node, Service

NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class View:
    """Everything that an announcement depends on."""

    me: str
    config: Configuration = field(default_factory=Configuration)
    services: Mapping[Key, Service] = field(default_factory=dict)  # balancers of our class, with an address of a pool
    pools: Mapping[Key, Pool] = field(default_factory=dict)  # the pool of each of them
    endpoints: Mapping[Key, Collection[str]] = field(default_factory=dict)  # nodes with endpoints that take traffic
    nodes: Mapping[str, Node] = field(default_factory=dict)
    alive: frozenset[str] | None = None
    ignore_excluded: bool = False

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(self.nodes, self.alive, self.ignore_excluded)

    def endpoints_of(self, key: Key) -> Collection[str]:
        return self.endpoints.get(key, NOBODY)


class Announces(Protocol):
    """A way to make addresses known."""

    name: str

    def settle(self, view: View, keys: Iterable[Key]) -> None:
        """Bring what is announced of these Services in line with the view; those that are not in it are withdrawn."""
        ...

    def announced(self) -> Mapping[Key, Iterable[str]]:
        """The addresses announced now, by Service: for the metrics."""
        ...

    def repeat(self) -> None:
        """Others may have been told otherwise meanwhile: say again what is announced."""
        ...

    def withdraw(self) -> None:
        """Announce nothing from this moment on: the process was told to stop."""
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...

    async def leave(self) -> None:
        """What takes a moment longer, such as the end of a session."""
        ...
