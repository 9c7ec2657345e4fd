"""Places where iptables rules can stand: in memory, or in a namespace of their own by either variant."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import pytest

from clusterip.diff import Changes
from clusterip.kernel import netns
from clusterip.kernel.iptables import KernelIptables, Key, State, Value
from clusterip.kernel.iptables_fake import FakeIptables

T = TypeVar("T")
PLACES = ["fake", pytest.param("nft", marks=pytest.mark.root), pytest.param("legacy", marks=pytest.mark.root)]


class Place(Protocol):
    """Where rules stand."""

    @property
    def iptables(self) -> FakeIptables | KernelIptables: ...

    def run(self, work: Coroutine[Any, Any, T]) -> T: ...


class Memory:
    def __init__(self) -> None:
        self.iptables = FakeIptables()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)


class Namespace:
    def __init__(self, variant: str | None, family: int = 4) -> None:
        self.fd = netns.create()
        self.iptables = KernelIptables(family, variant)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return netns.inside(self.fd, lambda: asyncio.run(work))


@contextmanager
def place(name: str, family: int = 4) -> Iterator[Place]:
    if name == "fake":
        yield Memory()
        return
    found = Namespace(name, family)
    try:
        yield found
    finally:
        os.close(found.fd)


def is_test_chain(table: str, chain: str) -> bool:
    return chain.startswith("TEST-")


def state(found: Place) -> State:
    return found.run(found.iptables.read(is_test_chain))


def commit(found: Place, *stages: Changes[Key, Value]) -> None:
    found.run(found.iptables.commit(*stages))
