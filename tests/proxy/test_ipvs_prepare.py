"""What ipvs mode asks of a machine, and says when it cannot have it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest

from clusterip.diff import Changes
from clusterip.failure import Failure
from clusterip.kernel.dummy import FakeDummy
from clusterip.kernel.ipset_fake import FakeIpset
from clusterip.kernel.iptables_fake import FakeIptables
from clusterip.kernel.ipvs import KernelIpvs, Timeouts, VirtualKey, VirtualServer
from clusterip.kernel.ipvs_fake import FakeIpvs
from clusterip.proxy.backends.ipvs import IpvsMode
from clusterip.proxy.backends.ipvs_prepare import Settings, configure, require, version_of, wanted_sysctls
from clusterip.proxy.config import Duration, Ipvs
from clusterip.proxy.model import Family


def needed(ipvs: FakeIpvs, scheduler: str = "rr") -> None:
    asyncio.run(require(Settings(scheduler=scheduler), ipvs, FakeIpset()))


def test_the_probe_leaves_nothing_behind() -> None:
    ipvs = FakeIpvs()
    needed(ipvs)
    assert ipvs.state == {}
    assert any(key.address == "198.51.100.0" for commit in ipvs.commits for key in commit.put)


def test_a_scheduler_in_use_is_not_probed() -> None:
    ipvs = FakeIpvs()
    ipvs.commit(Changes({VirtualKey("tcp", "10.0.0.1", 80): VirtualServer("rr")}))
    needed(ipvs)
    assert len(ipvs.commits) == 1


def test_a_missing_scheduler_is_named() -> None:
    ipvs = FakeIpvs(("rr",))
    with pytest.raises(Failure, match=r"no scheduler wlc .*modprobe -- ip_vs_wlc"):
        needed(ipvs, "wlc")
    assert ipvs.state == {}


@pytest.mark.skipif(Path("/proc/net/ip_vs").exists(), reason="this kernel has IPVS")
def test_a_kernel_without_ipvs_is_told_with_the_lessons_modules() -> None:
    dummy, sets = FakeDummy(), FakeIpset()
    backend = IpvsMode(Settings(), 0x4000, servers=KernelIpvs(), sets=sets, chains=FakeIptables(), dummy=dummy)
    try:
        with pytest.raises(Failure) as failure:
            asyncio.run(backend.prepare())
    finally:
        backend.close()
    assert "modprobe -a -- ip_vs ip_vs_rr ip_vs_wrr ip_vs_sh nf_conntrack" in str(failure.value)
    assert "\n" not in str(failure.value)
    assert (dummy.addresses, sets.sets) == (None, {})


def test_settings_of_a_configuration() -> None:
    section = Ipvs(
        scheduler="wlc",
        exclude_cidrs=("10.1.0.0/16", "fd00::/64"),
        strict_arp=True,
        tcp_timeout=Duration(900),
        udp_timeout=Duration(30),
    )
    found = Settings.of(section, Family.IPV6)
    assert found == Settings(Family.IPV6, "wlc", (ip_network("fd00::/64"),), True, Timeouts(900, 0, 30))
    assert Settings.of(Ipvs(), Family.IPV4).scheduler == "rr"


@pytest.mark.parametrize(
    ("release", "reuse"), [("6.1.176", None), ("5.9.0", None), ("5.4.0-42-generic", 0), ("4.19.0", 0), ("3.10.0", None)]
)
def test_sysctls(release: str, reuse: int | None) -> None:
    found = wanted_sysctls(Settings(), release)
    assert found.get("net.ipv4.vs.conn_reuse_mode") == reuse
    assert found["net.ipv4.vs.conntrack"] == 1
    assert "net.ipv4.conf.all.arp_ignore" not in found
    strict = wanted_sysctls(Settings(strict_arp=True), release)
    assert (strict["net.ipv4.conf.all.arp_ignore"], strict["net.ipv4.conf.all.arp_announce"]) == (1, 2)


def test_versions() -> None:
    assert [version_of(text) for text in ("6.18.44", "5.10-rc1", "4.1")] == [(6, 18), (5, 10), (4, 1)]


def test_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterip.proxy.backends.ipvs_prepare.sysctl.apply", lambda values: {})
    ipvs = FakeIpvs()
    configure(Settings(timeouts=Timeouts(0, 60, 0)), ipvs)
    assert ipvs.timeouts() == Timeouts(900, 60, 300)
