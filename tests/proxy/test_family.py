"""One family's pipeline: its own objects, one plan at a time, what is told of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager

from clusterip.clock import ManualClock
from clusterip.diff import Changes, patched
from clusterip.kernel.conntrack import FakeConntrack
from clusterip.proxy.backends import Compiled
from clusterip.proxy.family import FamilyProxy, Programmed, trigger_time
from clusterip.proxy.model import Family, Node, Plan, Traits
from clusterip.proxy.objects import (
    Annotations,
    EndpointSlice,
    Labels,
    Metadata,
    Port,
    Service,
    ServiceSpec,
    SliceEndpoint,
    SlicePort,
)
from clusterip.proxy.pace import Periods


class Backend:
    """A kernel that is a dictionary: each Service, and how many ways its rules lead to."""

    mode, family, traits = "dictionary", Family.IPV4, Traits()

    def __init__(self) -> None:
        self.kernel: dict[str, int] = {}
        self.on_foreign: Callable[[], None] = lambda: None

    async def prepare(self) -> None: ...

    def compile(self, plan: Plan) -> Compiled[str, int]:
        return Compiled({key: {str(key): len(service.rules)} for key, service in plan.services.items()})

    async def read(self) -> Mapping[str, int]:
        return dict(self.kernel)

    async def commit(self, changes: Changes[str, int]) -> Changes[str, int]:
        self.kernel = patched(self.kernel, changes)
        return Changes()

    @asynccontextmanager
    async def watch(self, on_foreign: Callable[[], None]) -> AsyncIterator[None]:
        self.on_foreign = on_foreign
        yield

    async def is_intact(self) -> bool:
        return True


class Reports:
    """Who is told."""

    def __init__(self) -> None:
        self.seen: list[Programmed] = []
        self.waiting = 0
        self.news = asyncio.Event()

    def queued(self, family: Family) -> None:
        self.waiting += 1

    def programmed(self, programmed: Programmed) -> None:
        self.seen.append(programmed)
        self.news.set()

    def intact(self, family: Family) -> None: ...

    def failed(self, family: Family) -> None: ...

    def refused(self, part: Hashable, why: str) -> None: ...

    def settled(self, family: Family, deleted: int, seconds: float) -> None: ...

    async def next(self) -> Programmed:
        async with asyncio.timeout(30):
            await self.news.wait()
        self.news.clear()
        return self.seen[-1]


def service(address: str) -> Service:
    spec = ServiceSpec(cluster_ip=address, cluster_ips=(address,), ports=(Port(80, "http"),))
    return Service(Metadata("web", "default"), spec)


def slice_of(address: str, kind: str = "IPv4", moment: str = "") -> EndpointSlice:
    meta = Metadata("web-1", "default", labels=Labels("web"), annotations=Annotations(moment) if moment else None)
    return EndpointSlice(meta, kind, (SliceEndpoint((address,)),), (SlicePort("http", "TCP", 8080),))


def family(backend: Backend, reports: Reports) -> FamilyProxy:
    return FamilyProxy(
        backend,
        Node("node-1"),
        Periods(),
        reports,
        ManualClock(),
        conntrack=FakeConntrack(),
        slices_revision=lambda: "7",
    )


WEB, SLICE = ("default", "web"), ("default", "web-1")


def test_what_was_collected_is_the_first_plan_and_changes_follow() -> None:
    async def play() -> None:
        backend, reports = Backend(), Reports()
        found = family(backend, reports)
        found.on_service(WEB, None, service("10.96.0.20"))
        found.on_slice(SLICE, None, slice_of("10.244.1.5", moment="2026-01-01T00:00:00Z"))
        assert not backend.kernel
        task = asyncio.create_task(found.run())
        first = await reports.next()
        assert backend.kernel == {"default/web": 1}
        assert (first.slices_revision, first.triggers, first.synced.was_full) == ("7", (), True)

        found.on_slice(SLICE, slice_of("10.244.1.5"), slice_of("10.244.1.6", moment="2026-01-01T00:00:00Z"))
        second = await reports.next()
        assert second.triggers == (1767225600.0,)
        assert not second.synced.was_full

        found.on_service(WEB, service("10.96.0.20"), None)
        await reports.next()
        assert backend.kernel == {}
        task.cancel()

    asyncio.run(play())


def test_how_long_a_change_took_is_told_when_the_kernel_has_it() -> None:
    """One that comes while another is written waits for the next sync; one from before the start tells nothing."""

    async def play() -> None:
        backend, reports = Backend(), Reports()
        found = family(backend, reports)
        task = asyncio.create_task(found.run())
        await reports.next()
        commit = backend.commit

        async def interrupted(changes: Changes[str, int]) -> Changes[str, int]:
            backend.commit = commit  # type: ignore[method-assign]
            found.on_slice(SLICE, None, slice_of("10.244.1.6", moment="2026-01-01T00:00:05Z"))
            return await commit(changes)

        backend.commit = interrupted  # type: ignore[method-assign]
        found.on_service(WEB, None, service("10.96.0.20"))
        found.on_slice(SLICE, None, slice_of("10.244.1.5", moment="2025-12-31T23:59:59Z"))
        assert (await reports.next()).triggers == ()
        assert (await reports.next()).triggers == (1767225605.0,)
        task.cancel()

    asyncio.run(play())


def test_slices_of_the_other_family_are_none_of_ours() -> None:
    reports = Reports()
    found = family(Backend(), reports)
    found.on_slice(SLICE, None, slice_of("fd00::5", "IPv6"))
    found.on_slice(SLICE, None, slice_of("example.com", "FQDN"))
    assert reports.waiting == 0
    found.on_slice(SLICE, None, slice_of("10.244.1.5"))
    assert reports.waiting == 1


def test_what_others_change_is_read_and_repaired() -> None:
    async def play() -> None:
        backend, reports = Backend(), Reports()
        found = family(backend, reports)
        found.on_service(WEB, None, service("10.96.0.20"))
        task = asyncio.create_task(found.run())
        await reports.next()
        backend.kernel = {"foreign": 1}
        backend.on_foreign()
        assert (await reports.next()).synced.was_full
        assert backend.kernel == {"default/web": 1}
        task.cancel()

    asyncio.run(play())


def test_when_a_pod_changed() -> None:
    assert trigger_time(slice_of("10.0.0.1", moment="2026-01-01T00:00:00Z")) == 1767225600.0
    assert trigger_time(slice_of("10.0.0.1", moment="soon")) is None
    assert trigger_time(slice_of("10.0.0.1")) is None
