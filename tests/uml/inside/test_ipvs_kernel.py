"""IPVS and the dummy device: the fakes and this kernel answer the same."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from clusterip.diff import Changes
from clusterip.kernel import netns
from clusterip.kernel.dummy import Dummy, DummyEvents, FakeDummy, KernelDummy
from clusterip.kernel.iptables_probe import usable_variant
from clusterip.kernel.ipvs import (
    SCHEDULERS,
    Ipvs,
    IpvsError,
    KernelIpvs,
    Key,
    Load,
    RealKey,
    RealServer,
    Timeouts,
    Value,
    VirtualKey,
    VirtualServer,
)
from clusterip.kernel.ipvs_fake import FakeIpvs
from clusterip.kernel.link import Netlink

WEB, DNS = VirtualKey("tcp", "10.96.0.20", 80), VirtualKey("udp", "fd00:10:96::a", 53)
ONE, TWO = RealKey(WEB, "10.244.1.5", 8080), RealKey(WEB, "10.244.2.5", 8080)
NAME = RealKey(DNS, "fd00:10:244:1::6", 53)
SCTP = VirtualKey("sctp", "10.96.0.20", 80)
IPV4: dict[Key, Value] = {
    WEB: VirtualServer("rr", 10800),
    ONE: RealServer(1),
    TWO: RealServer(3),
    SCTP: VirtualServer("mh", hashes_ports=True),
    RealKey(SCTP, "10.244.1.5", 80): RealServer(0),
}
IPV6: dict[Key, Value] = {DNS: VirtualServer("wlc"), NAME: RealServer()}


class Place:
    """A door of the kernel, and the namespace that it leads to."""

    def __init__(self, door: Any, inside: Callable[[Callable[[], Any]], Any]) -> None:
        self.door, self.inside = door, inside

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: self.inside(lambda: getattr(self.door, name)(*arguments))


@contextmanager
def namespace() -> Iterator[int]:
    """With its loopback up: where no interface is, the kernel refuses every real server."""
    fd = netns.create()
    with Netlink(fd) as netlink:
        netlink.set_up("lo")
    try:
        yield fd
    finally:
        os.close(fd)


def places(kernel: Callable[[], Any], fake: Callable[[], Any], kind: str) -> Iterator[Place]:
    if kind == "fake":
        yield Place(fake(), lambda act: act())
        return
    with namespace() as fd, closing(kernel()) as door:
        yield Place(door, lambda act: netns.inside(fd, act))


@pytest.fixture(params=["fake", "kernel"])
def ipvs(request: pytest.FixtureRequest) -> Iterator[Ipvs]:
    yield from places(KernelIpvs, FakeIpvs, request.param)  # type: ignore[misc]


@pytest.fixture(params=["fake", "kernel"])
def dummy(request: pytest.FixtureRequest) -> Iterator[Dummy]:
    yield from places(lambda: KernelDummy("kube-ipvs0"), FakeDummy, request.param)  # type: ignore[misc]


def test_what_is_put_is_read(ipvs: Ipvs) -> None:
    ipvs.commit(Changes({**IPV4, **IPV6}))
    assert (ipvs.read(4), ipvs.read(6)) == (IPV4, IPV6)
    assert ipvs.virtual_servers(6) == {DNS: VirtualServer("wlc")}
    assert ipvs.loads(WEB) == {ONE: Load(0, 0), TWO: Load(0, 0)}


def test_twice_is_once(ipvs: Ipvs) -> None:
    for _ in range(2):
        ipvs.commit(Changes({**IPV4, **IPV6}))
    assert ipvs.read(4) == IPV4
    for _ in range(2):
        ipvs.commit(Changes(remove={ONE: RealServer(), DNS: VirtualServer()}))
    assert ipvs.read(6) == {}
    assert ipvs.loads(DNS) == {}
    assert ONE not in ipvs.read(4)


def test_changes_in_place(ipvs: Ipvs) -> None:
    ipvs.commit(Changes(IPV4))
    new: dict[Key, Value] = {WEB: VirtualServer("wrr"), ONE: RealServer(7)}
    ipvs.commit(Changes(new, {WEB: IPV4[WEB], ONE: IPV4[ONE]}))
    assert ipvs.read(4) == {**IPV4, **new}


def test_refusals_are_told_by_key_and_the_rest_is_done(ipvs: Ipvs) -> None:
    nowhere = RealKey(VirtualKey("tcp", "10.96.0.99", 80), "10.244.1.5", 80)
    strange = VirtualKey("tcp", "10.96.0.98", 80)
    put: dict[Key, Value] = {nowhere: RealServer(), strange: VirtualServer("best"), WEB: VirtualServer()}
    with pytest.raises(IpvsError) as error:
        ipvs.commit(Changes(put))
    assert error.value.refused == {nowhere: errno.ESRCH, strange: errno.ENOENT}
    assert ipvs.read(4) == {WEB: VirtualServer()}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler(ipvs: Ipvs, scheduler: str) -> None:
    ipvs.commit(Changes({WEB: VirtualServer(scheduler)}))
    assert ipvs.read(4) == {WEB: VirtualServer(scheduler)}


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_a_scheduler_with_state_per_namespace_is_not_left_to_the_kernel(scheduler: str) -> None:
    """Which would load it under the lock of IPVS, and stand still for ever when a namespace is taken down beside it."""
    subprocess.run(["modprobe", "-r", f"ip_vs_{scheduler}"], check=True)
    loader = Path("/proc/sys/kernel/modprobe")
    own = loader.read_text()
    loader.write_text("/bin/false\n")
    try:
        with namespace() as fd, closing(KernelIpvs()) as door:
            netns.inside(fd, lambda: door.commit(Changes({WEB: VirtualServer(scheduler)})))
            assert netns.inside(fd, lambda: door.read(4)) == {WEB: VirtualServer(scheduler)}
    finally:
        loader.write_text(own)


def test_timeouts(ipvs: Ipvs) -> None:
    assert ipvs.timeouts() == Timeouts(900, 120, 300)
    ipvs.set_timeouts(Timeouts(100, 0, 7))
    assert ipvs.timeouts() == Timeouts(100, 120, 7)


def test_flush(ipvs: Ipvs) -> None:
    ipvs.commit(Changes({**IPV4, **IPV6}))
    ipvs.flush()
    assert {**ipvs.read(4), **ipvs.read(6)} == {}


def test_thousands() -> None:
    state: dict[Key, Value] = {}
    for number in range(2000):
        virtual = VirtualKey("tcp", f"10.96.{number >> 8}.{number & 255}", 80)
        state[virtual] = VirtualServer()
        state |= {RealKey(virtual, f"10.244.1.{last}", 8080): RealServer() for last in range(1, 4)}
    with namespace() as fd, closing(KernelIpvs()) as door:
        netns.inside(fd, lambda: door.commit(Changes(state)))
        assert netns.inside(fd, lambda: door.read(4)) == state


def test_the_program_prints_what_was_made() -> None:
    command = ["ipvsadm", "-S", "-n"]
    with namespace() as fd, closing(KernelIpvs()) as door:
        netns.inside(fd, lambda: door.commit(Changes({**IPV4, **IPV6})))
        text = netns.inside(fd, lambda: subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(text.splitlines()) == {
        "-A -t 10.96.0.20:80 -s rr -p 10800",
        "-a -t 10.96.0.20:80 -r 10.244.1.5:8080 -m -w 1",
        "-a -t 10.96.0.20:80 -r 10.244.2.5:8080 -m -w 3",
        "-A --sctp-service 10.96.0.20:80 -s mh -b mh-port",
        "-a --sctp-service 10.96.0.20:80 -r 10.244.1.5:80 -m -w 0",
        "-A -u [fd00:10:96::a]:53 -s wlc",
        "-a -u [fd00:10:96::a]:53 -r [fd00:10:244:1::6]:53 -m -w 1",
    }


def test_a_dummy_device(dummy: Dummy) -> None:
    assert dummy.read(4) is None
    dummy.delete()
    with pytest.raises(OSError, match="No such device"):
        dummy.change(["10.96.0.1"], [])
    for _ in range(2):
        dummy.ensure()
        dummy.change(["10.96.0.1", "10.96.0.2", "fd00:10:96::a"], ["10.96.0.9"])
    assert (dummy.read(4), dummy.read(6)) == ({"10.96.0.1", "10.96.0.2"}, {"fd00:10:96::a"})
    dummy.change([], ["10.96.0.2"])
    assert dummy.read(4) == {"10.96.0.1"}
    dummy.delete()
    assert dummy.read(4) is None


def test_events_tell_what_others_take() -> None:
    dummy, told = KernelDummy("kube-ipvs0"), list[int]()

    def work() -> None:
        dummy.ensure()
        dummy.change(["10.96.0.1", "10.96.0.2", "10.96.0.3", "fd00:10:96::a"], [])
        events = DummyEvents(dummy, 4, lambda: told.append(1))
        dummy.change([], ["10.96.0.3"])
        events.drain()
        assert told == [], "our own changes are no news"
        subprocess.run(["ip", "addr", "del", "fd00:10:96::a/128", "dev", "kube-ipvs0"], check=True)
        events.drain()
        assert told == [], "nor are those of the other IP version"
        subprocess.run(["ip", "addr", "del", "10.96.0.2/32", "dev", "kube-ipvs0"], check=True)
        events.drain()
        assert told == [1]
        subprocess.run(["ip", "link", "del", "kube-ipvs0"], check=True)
        events.drain()
        assert told == [1, 1]
        events.close()

    with namespace() as fd, closing(dummy):
        netns.inside(fd, work)


def test_the_legacy_iptables_is_found() -> None:
    """This kernel's nf_tables has no family ip, and lists it as empty all the same."""
    with namespace() as fd:
        assert netns.inside(fd, lambda: asyncio.run(usable_variant(4))) == "legacy"


def test_real_servers_need_an_interface_that_was_up() -> None:
    """Until then the kernel has no table of routes, and takes every address for a broadcast's."""
    fd = netns.create()
    with closing(KernelIpvs()) as door:
        with pytest.raises(IpvsError, match="Invalid argument"):
            netns.inside(fd, lambda: door.commit(Changes(IPV4)))
        with Netlink(fd) as netlink:
            netlink.set_up("lo")
        netns.inside(fd, lambda: door.commit(Changes(IPV4)))
    os.close(fd)
