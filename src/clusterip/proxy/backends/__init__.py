"""One module a proxy mode; a backend is prepare, compile, read, commit, and a look whether all is as it was left.

Stage: compile, read, commit.  Rules: no policy in a backend; verdicts are the plan's.  Each module has
`make(settings)` and `cleanup(family)`; proxy/modes.py finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from clusterip.diff import Changes
from clusterip.proxy.config import KubeProxyConfiguration
from clusterip.proxy.model import Family, Plan, Traits

K = TypeVar("K")
V = TypeVar("V")


class Refused(Exception):
    """The kernel did not take the changes, or could not be read; the old rules stand."""


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """What a backend is made from."""

    family: Family
    config: KubeProxyConfiguration
    masquerade_bit: int


@dataclass(frozen=True, slots=True)
class Compiled(Generic[K, V]):
    """What should be there, in disjoint parts: a part that did not change is the same object as last time.

    `changed` names the parts that may differ from the previous compile, those that are gone included; None means that
    any may.
    """

    parts: Mapping[Hashable, Mapping[K, V]]
    changed: frozenset[Hashable] | None = None


class Backend(Protocol[K, V]):
    """A proxy mode in one IP family. Everything else is shared."""

    mode: str
    family: Family
    traits: Traits

    async def prepare(self) -> None:
        """Make this mode possible here: programs, modules, sysctls; Failure in one line when it is not."""
        ...

    def compile(self, plan: Plan) -> Compiled[K, V]:
        """What should be there."""
        ...

    async def read(self) -> Mapping[K, V]:
        """What is there now; Refused when that cannot be known."""
        ...

    async def commit(self, changes: Changes[K, V]) -> Changes[K, V]:
        """Make the changes, or Refused and none; return the removals that must come in a later commit."""
        ...

    def watch(self, on_foreign: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """While inside, call when somebody else changed what is ours; may be blind where the kernel tells nothing."""
        ...

    async def is_intact(self) -> bool:
        """A cheap look, asked once a sync period: False brings a full read and repair."""
        ...
