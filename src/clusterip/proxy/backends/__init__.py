"""One module a proxy mode; a backend is compile, read, commit.

Stage: compile, read, commit.  Rules: no policy in a backend; verdicts are the plan's.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Protocol, TypeVar

from clusterip.diff import Changes
from clusterip.proxy.model import Plan

K = TypeVar("K")
V = TypeVar("V")


class Refused(Exception):
    """The kernel did not take the changes, or could not be read; the old rules stand."""


class Backend(Protocol[K, V]):
    """A proxy mode. Everything else is shared."""

    mode: str

    def compile(self, plan: Plan) -> Mapping[Hashable, Mapping[K, V]]:
        """What should be there, in disjoint parts; a part that did not change is the same object as last time."""
        ...

    async def read(self) -> Mapping[K, V]:
        """What is there now; Refused when that cannot be known."""
        ...

    async def commit(self, changes: Changes[K, V]) -> Changes[K, V]:
        """Make the changes, or Refused and none; return the removals that must come in a later commit."""
        ...
