"""What a node of kind uml is made of, as values."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from clusterip.cluster import umlinit, umlnet, umlnode
from clusterip.cluster.config import Config
from clusterip.cluster.folder import Folder
from clusterip.cluster.parts import parts
from clusterip.cluster.preflight import missing_programs
from clusterip.cluster.topology import topology

CONFIG = Config(nodes=("node-1", "node-2"), node_kind="uml", proxy_mode="ipvs")
NODE = topology(CONFIG).machine("node-1")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder("test", tmp_path / "test")
    made.make()
    return made


def test_wires() -> None:
    wires = umlnet.wiring(NODE)
    assert (wires.node, wires.pods) == (IPv4Address("192.168.4.101"), IPv4Network("10.244.1.0/24"))
    assert wires.agent == IPv4Address("10.244.1.1")
    assert len({wires.mac(n) for n in range(5)}) == 5
    assert wires.eth0_mac == NODE.mac
    assert IPv4Network("10.244.1.0/24") not in [route.destination for route in wires.routes]
    assert IPv4Network("10.244.2.0/24") in [route.destination for route in wires.routes]


def test_the_guest_is_a_part_that_the_supervisor_keeps(folder: Folder) -> None:
    plan = topology(CONFIG)
    by_name = {part.name: part for part in parts(folder, CONFIG, plan)}
    guest, agent = by_name["node-1/guest"], by_name["node-1/agent"]
    assert guest.execute
    assert guest.argv[:5] == ("unshare", "--pid", "--fork", "--kill-child", "linux.uml")
    assert f"vec0:transport=raw,ifname=uplink,mac={NODE.mac},gro=1" in guest.argv
    assert agent.stop_order < guest.stop_order  # a node that ends still tells the API
    assert "--gate=192.168.4.101" in agent.argv
    others = parts(folder, Config(nodes=("node-1",)), topology(Config(nodes=("node-1",))))
    assert [part.name for part in others if part.execute] == []


def test_the_guest_reads_what_was_written_for_it(folder: Folder) -> None:
    files = umlnode.files(folder, NODE)
    text, mode = files[umlinit.PLAN]
    plan = umlinit.GuestPlan.from_json(text)
    assert plan.wiring == umlnet.wiring(NODE)
    assert plan.sysctls == NODE.sysctls
    assert mode == 0o600
    assert plan.token == files[umlnode.TOKEN_FILE][0] == umlnode.token(folder)
    assert len(plan.token) == 64
    script, mode = files[umlnode.INIT]
    assert mode == 0o755
    assert script.startswith("#!/bin/sh\n")


def test_what_the_machine_lacks_for_it_is_said() -> None:
    assert missing_programs(lambda _: None) == [("nft", "nftables"), ("runc or crun", "runc"), ("conmon", "conmon")]
    lacking = dict(missing_programs(lambda name: None if name == "linux.uml" else name, "uml"))
    assert lacking == {"linux.uml": "user-mode-linux"}
