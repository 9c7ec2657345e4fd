"""The guest is what other tests here count on: another kernel, its modules, the host's files, and none of its own."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from clusterip.kernel import netns, sysctl
from clusterip.kernel.link import Netlink

TABLE = "net.netfilter.nf_conntrack_max"
OF_A_NODE = 131072  # what kube-proxy asks for
LATE_SECONDS = 30.0
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "sh", "mh", "dh", "sed", "nq")


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_its_kernel_has_ipvs_and_its_schedulers() -> None:
    output("modprobe", "-a", "ip_vs", *(f"ip_vs_{name}" for name in SCHEDULERS))
    loaded = {line.split()[0] for line in output("lsmod").splitlines()}
    assert {"ip_vs", *(f"ip_vs_{name}" for name in SCHEDULERS)} <= loaded
    assert "IP Virtual Server" in output("ipvsadm", "-L", "-n")


def test_its_iptables_is_the_legacy_one() -> None:
    assert "Chain PREROUTING" in output("iptables-legacy", "-t", "nat", "-L", "-n")
    refused = [
        "iptables-nft",
        "-t",
        "nat",
        "-A",
        "POSTROUTING",
        "-j",
        "MASQUERADE",
    ]  # a listing would be empty, no error
    assert subprocess.run(refused, capture_output=True, check=False).returncode != 0


def test_it_sees_the_hosts_files_and_writes_none() -> None:
    here = Path(__file__)
    before = here.stat().st_mode
    here.chmod(0o600)
    beside = here.with_name("only-in-the-guest")
    beside.touch()
    assert beside.exists()
    here.chmod(before)


@pytest.mark.parametrize("name", ["ip_vs", "ip_set"])
def test_modules_are_loaded_by_those_who_need_them(name: str) -> None:
    output("ipset", "create", "asked", "hash:ip,port")
    output("ipset", "destroy", "asked")
    output("ipvsadm", "-L", "-n")
    assert name in output("lsmod")


def test_network_namespaces_can_be_made() -> None:
    output("ip", "netns", "add", "other")
    output("ip", "netns", "del", "other")
    assert os.geteuid() == 0


# -- connections -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tracking() -> Iterator[int]:
    """A network namespace that tracks connections, and may not say how many."""
    fd = netns.create()
    with Netlink(fd) as netlink:
        netlink.set_up("lo")
    rule = ("-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
    netns.inside(fd, lambda: output("iptables-legacy", *rule))
    before = sysctl.read(TABLE)
    yield fd
    sysctl.write(TABLE, before)
    os.close(fd)


def established(fd: int, count: int, seconds: float) -> int:
    """Of so many connections to one place, all held, those that come about in time."""

    def connect() -> int:
        with ExitStack() as held, closing(socket.create_server(("127.0.0.1", 0), backlog=2 * count)) as server:
            poll = select.poll()
            for _ in range(count):
                sock = held.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(server.getsockname())
                poll.register(sock, select.POLLOUT)
            found, until = 0, time.monotonic() + seconds
            while found < count and (left := until - time.monotonic()) > 0:
                for ready, _ in poll.poll(left * 1000):
                    poll.unregister(ready)
                    found += 1
            return found

    return netns.inside(fd, connect)


def test_it_tracks_as_many_connections_as_a_node() -> None:
    assert int(sysctl.read(TABLE)) >= OF_A_NODE


def test_a_full_table_of_connections_drops_first_packets(tracking: int) -> None:
    assert TABLE in netns.inside(tracking, lambda: sysctl.apply({TABLE: OF_A_NODE}))
    assert established(tracking, 60, LATE_SECONDS) == 60
    sysctl.write(TABLE, 20)
    assert established(tracking, 60, 0.5) <= 20
