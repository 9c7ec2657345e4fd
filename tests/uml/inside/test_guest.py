"""The guest is what other tests here count on: another kernel, its modules, the host's files, and none of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

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
