"""What a proxy does to one node of a packet test, in any mode: rules, then flows.

The backend lives on a thread of its own that is inside the node's network, with an event loop, as the process would be.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from clusterip.clock import SystemClock
from clusterip.kernel import netns
from clusterip.kernel.conntrack import Flow, KernelConntrack
from clusterip.proxy.backends import Backend, BackendSettings
from clusterip.proxy.config import default
from clusterip.proxy.conntrack import Settler
from clusterip.proxy.model import Family, Plan
from clusterip.proxy.modes import MODES
from clusterip.proxy.runner import Runner
from packets.machines import Machine

T = TypeVar("T")
SYNC_SECONDS = 60.0
SETTLE_SECONDS = 0.05
MASQUERADE_BIT = 14


def modes_here() -> list[str]:
    """The modes that this machine's kernel can run."""
    with_ipvs = Path("/proc/net/ip_vs").exists()
    with_nftables = "user-mode" not in Path("/proc/version").read_text() and not with_ipvs
    impossible = {mode for mode, can in (("ipvs", with_ipvs), ("nftables", with_nftables)) if not can}
    return [mode for mode in MODES if mode not in impossible]


class Loop:
    """An event loop that runs in a thread inside a machine."""

    def __init__(self, machine: Machine) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(machine,), daemon=True)
        self._thread.start()

    def _run(self, machine: Machine) -> None:
        netns.enter(machine.fd)
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T], seconds: float = SYNC_SECONDS) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def close(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._loop.shutdown_default_executor()

        self.call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class NodeProxy:
    """One node's proxy. A new one stands for a restart."""

    def __init__(self, machine: Machine, plan: Callable[[], Plan], mode: str, family: Family = Family.IPV4) -> None:
        self._plan = plan
        self._loop = Loop(machine)
        self.backend: Backend[Any, Any] = self._loop.call(_made(mode, family))
        self.runner: Runner[Any, Any] = self._loop.call(_runner(self.backend, plan))
        self.settler = Settler(Conntrack(machine))
        self.call(self.backend.prepare())

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something where the proxy is."""
        return self._loop.call(work)

    def sync(self) -> int:
        """All that the plan asks for, due removals included; the number of changes."""
        total = 0
        while changes := self.call(self.runner.sync()).changes:
            total += changes
        plan = self._plan()
        if work := self.settler.prepare(plan):
            work()
        return total

    def repair(self) -> int:
        """As after a doubt; events that were under way have come when it returns."""
        self.runner.doubt()
        changes = self.sync()
        self.call(asyncio.sleep(SETTLE_SECONDS))
        return changes

    @contextmanager
    def watch(self) -> Iterator[threading.Event]:
        """What the backend notices of changes by others."""
        noticed = threading.Event()
        watching = self.backend.watch(noticed.set)
        self.call(watching.__aenter__())
        try:
            yield noticed
        finally:
            self.call(watching.__aexit__(None, None, None))

    def close(self) -> None:
        """End it as a process ends: what is in the kernel stays."""
        if close := getattr(self.backend, "close", None):
            ended = close()
            if asyncio.iscoroutine(ended):
                self.call(ended)
        self._loop.close()


async def _made(mode: str, family: Family) -> Backend[Any, Any]:
    return MODES[mode].make(BackendSettings(family, default(), MASQUERADE_BIT))


async def _runner(backend: Backend[Any, Any], plan: Callable[[], Plan]) -> Runner[Any, Any]:
    return Runner(backend, plan, SystemClock())


class Conntrack:
    """A machine's connection tracking."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def udp_flows(self, version: int = 4, port: int = 0) -> list[Flow]:
        return self._machine.inside(lambda: KernelConntrack().udp_flows(version, port))

    def delete(self, flows: Iterable[Flow]) -> int:
        wanted = list(flows)
        return self._machine.inside(lambda: KernelConntrack().delete(wanted))
