"""The network as a value."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from clusterip.cluster.config import (
    Config,
    parse_dual_stack,
    parse_name,
    parse_network_policy,
    parse_node_kind,
    parse_nodes,
    parse_proxy_mode,
    parse_store,
)
from clusterip.cluster.topology import EVERYWHERE, topology
from clusterip.failure import Failure


def routes(config: Config, name: str) -> dict[str, str]:
    return {str(r.destination): str(r.via or "unreachable") for r in topology(config).machine(name).routes}


def test_three_nodes_as_in_the_lessons() -> None:
    plan = topology(Config())
    assert {machine.name: str(machine.address) for machine in plan.machines} == {
        "lan": "192.168.4.1/24",
        "control": "192.168.4.100/24",
        "node-1": "192.168.4.101/24",
        "node-2": "192.168.4.102/24",
        "node-3": "192.168.4.103/24",
    }
    assert [str(node.pod_cidr) for node in plan.nodes] == ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]
    assert routes(Config(), "node-2") == {
        "10.244.1.0/24": "192.168.4.101",
        "10.244.3.0/24": "192.168.4.103",
        "10.244.2.0/24": "unreachable",
        "0.0.0.0/0": "192.168.4.1",
    }
    assert routes(Config(), "control")["10.244.2.0/24"] == "192.168.4.102"


def test_the_lan_machine_knows_no_pods() -> None:
    assert routes(Config(), "lan") == {"0.0.0.0/0": "unreachable"}


def test_any_number_of_nodes_keeps_addresses_and_names_apart() -> None:
    plan = topology(Config(nodes=parse_nodes(50, None)))
    for values in ([m.ip for m in plan.machines], [m.mac for m in plan.machines], [m.port for m in plan.machines]):
        assert len(set(values)) == len(values) == 52
    assert all(machine.ip in IPv4Network("192.168.4.0/24") for machine in plan.machines)
    assert all(len(machine.port) <= 15 for machine in plan.machines)


def test_every_machine_but_the_lan_has_a_way_out() -> None:
    for machine in topology(Config()).machines[1:]:
        assert {r.destination: r.via for r in machine.routes}[EVERYWHERE] == IPv4Address("192.168.4.1")


def test_hosts_file_names_every_machine() -> None:
    lines = topology(Config(nodes=("master", "node01"))).hosts().splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-2:] == ["192.168.4.101\tmaster", "192.168.4.102\tnode01"]


def test_config_survives_its_file() -> None:
    config = Config(name="x", nodes=("a", "b"), store="memory")
    assert Config.from_tree(config.to_tree()) == config


def test_node_names() -> None:
    assert parse_nodes(None, None) == ("node-1", "node-2", "node-3")
    assert parse_nodes(1, None) == ("node-1",)
    assert parse_nodes(None, "master, node01,node02") == ("master", "node01", "node02")
    assert parse_nodes(2, "a,b") == ("a", "b")


@pytest.mark.parametrize(
    ("count", "names", "text"),
    [
        (0, None, "1 to 50"),
        (51, None, "1 to 50"),
        (None, "a,a", "once"),
        (None, "Node", "'Node' cannot name a node"),
        (None, "a,", "'' cannot name a node"),
        (None, "control", "'control' is the name of another machine"),
        (3, "a,b", "leave one of them out"),
    ],
)
def test_wrong_nodes_are_said(count: int | None, names: str | None, text: str) -> None:
    with pytest.raises(Failure, match=text):
        parse_nodes(count, names)


def test_wrong_choices_are_said() -> None:
    with pytest.raises(
        Failure, match="nodes of kind uml have a kernel without it; use one of ipvs, iptables, userspace"
    ):
        parse_proxy_mode("nftables", "uml")
    with pytest.raises(Failure, match="unknown"):
        parse_proxy_mode("magic")
    with pytest.raises(Failure, match="use one of namespace, uml"):
        parse_node_kind("vm")
    with pytest.raises(Failure, match="sqlite, memory"):
        parse_store("mysql")
    with pytest.raises(Failure, match="is no server"):
        parse_store("etcd=x")
    with pytest.raises(Failure, match="--name test-1"):
        parse_name("../up")
    assert parse_name("test-1") == "test-1"
    assert [parse_proxy_mode(None), parse_proxy_mode(None, "uml")] == ["nftables", "ipvs"]


def test_a_second_family_repeats_the_first() -> None:
    config = Config(nodes=parse_nodes(2, None), dual_stack=True)
    plan = topology(config)
    assert [str(machine.address_6) for machine in plan.machines] == [
        "fd00:192:168:4::1/64",
        "fd00:192:168:4::100/64",
        "fd00:192:168:4::101/64",
        "fd00:192:168:4::102/64",
    ]
    found = {to: via for to, via in routes(config, "node-1").items() if ":" in to}
    assert found == {
        "fd00:10:244:2::/64": "fd00:192:168:4::102",
        "fd00:10:244:1::/64": "unreachable",
        "::/0": "fd00:192:168:4::1",
    }
    assert plan.machine("node-1").sysctls["net.ipv6.conf.all.forwarding"] == "1"
    assert (plan.machine("node-1").ips, plan.machine("node-2").pod_cidrs) == (
        "192.168.4.101,fd00:192:168:4::101",
        "10.244.2.0/24,fd00:10:244:2::/64",
    )
    assert config.service_cidrs == "10.96.0.0/12,fd00:10:96::/112"
    assert {m.address_6 for m in topology(Config()).machines} == {None}
    with pytest.raises(Failure, match="uml have IPv4 only"):
        parse_dual_stack(True, "uml")


def test_guests_have_no_policies() -> None:
    assert parse_network_policy(True)
    with pytest.raises(Failure, match="without nftables"):
        parse_network_policy(True, "uml")
