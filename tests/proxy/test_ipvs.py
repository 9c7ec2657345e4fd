"""ipvs mode without a kernel: what a cluster compiles to, in which order it is made, what is refused and repaired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from clusterip.clock import ManualClock
from clusterip.diff import Changes
from clusterip.kernel.dummy import FakeDummy
from clusterip.kernel.ipset import ENTRY, EntryKey, SetKey, SetSpec
from clusterip.kernel.ipset_fake import FakeIpset
from clusterip.kernel.iptables import ChainKey
from clusterip.kernel.iptables_fake import FakeIptables
from clusterip.kernel.ipvs import RealKey, RealServer, VirtualKey, VirtualServer
from clusterip.kernel.ipvs_fake import FakeIpvs
from clusterip.proxy.backends import Refused
from clusterip.proxy.backends import ipvs_tables as tables
from clusterip.proxy.backends.ipvs import IpvsMode
from clusterip.proxy.backends.ipvs_compile import Compiler
from clusterip.proxy.backends.ipvs_prepare import Settings
from clusterip.proxy.backends.ipvs_service import compile_service
from clusterip.proxy.backends.ipvs_state import BOUND, AddressKey
from clusterip.proxy.model import Family, FrontendKind, Node, Plan, PodTraffic, Rule, ServicePlan
from clusterip.proxy.runner import Runner
from proxy.clusters import NODE_1, Cluster, node, v6
from proxy.ipvs_walking import MARK, state_of

WEB = VirtualKey("tcp", "10.96.0.20", 80)
HERE, THERE = "10.244.1.5", "10.244.2.5"
LOCAL = {"externalTrafficPolicy": "Local"}


class World:
    """Every door of the kernel, in memory."""

    def __init__(self, **settings: Any) -> None:
        self.servers, self.sets, self.chains, self.dummy = FakeIpvs(), FakeIpset(), FakeIptables(), FakeDummy()
        self.settings = Settings(**settings)
        self.cluster = Cluster(node(mode="ipvs"))
        self.backend = self.started()
        self.runner = Runner(self.backend, self.cluster.plan, ManualClock())

    def started(self) -> IpvsMode:
        doors: dict[str, Any] = {
            "servers": self.servers,
            "sets": self.sets,
            "chains": self.chains,
            "dummy": self.dummy,
        }
        return IpvsMode(self.settings, MARK, **doors)

    def web(self, *endpoints: str, **spec: Any) -> World:
        self.cluster.service("web", "10.96.0.20", "http 80/tcp 30080", **spec)
        self.cluster.endpoints("web", "http 8080/tcp", *endpoints)
        return self

    async def synced(self) -> World:
        await self.runner.sync()
        return self

    def weights(self) -> dict[str, int]:
        found = self.servers.state.items()
        return {
            key.address: value.weight
            for key, value in found
            if isinstance(key, RealKey) and isinstance(value, RealServer) and key.virtual == WEB
        }


def play(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


def chain(cluster: Cluster, table: str, name: str) -> tuple[str, ...]:
    found = state_of(cluster.plan()).chains[ChainKey(table, name)]
    assert isinstance(found, tuple)
    return found


def entries(cluster: Cluster, name: str) -> set[str]:
    return {key.entry for key in state_of(cluster.plan()).sets if isinstance(key, EntryKey) and key.set == name}


def cluster(*endpoints: str, of: Node | None = None, **spec: Any) -> Cluster:
    found = Cluster(of or node(mode="ipvs"))
    found.service("web", "10.96.0.20", "http 80/tcp 30080", **spec)
    found.endpoints("web", "http 8080/tcp", *endpoints)
    return found


# -- what it compiles to -----------------------------------------------------------------------------------------------


def test_the_sets_of_kube_proxy() -> None:
    types = {key.name: value for key, value in state_of(Cluster(node(mode="ipvs")).plan()).sets.items()}
    assert len(types) == 17
    assert types["KUBE-LOOP-BACK"] == SetSpec("hash:ip,port,ip", 4)
    assert types["KUBE-LOAD-BALANCER-SOURCE-CIDR"] == SetSpec("hash:ip,port,net", 4)
    assert types["KUBE-NODE-PORT-TCP"] == SetSpec("bitmap:port", 4)
    assert types["KUBE-IPVS-IPS"] == SetSpec("hash:ip", 4)


def test_ipv6_has_twins_with_names_that_fit() -> None:
    names = tables.set_names(Family.IPV6)
    assert "KUBE-6-CLUSTER-IP" in names
    assert "KUBE-6-LOAD-BALANCER-SOURCE-CID" in names
    assert "KUBE-6-NODE-PORT-LOCAL-SCTP-HAS" in names
    assert len(set(names)) == 17
    found = Cluster(node(mode="ipvs", family=Family.IPV6))
    found.service("web", v6("10.96.0.20"), "http 80/tcp 30080")
    found.endpoints("web", "http 8080/tcp", v6(HERE))
    state = state_of(found.plan())
    assert VirtualKey("tcp", "fd00:10:96::20", 80) in state.servers
    assert EntryKey("KUBE-6-LOOP-BACK", "fd00:10:244:1::5,tcp:8080,fd00:10:244:1::5") in state.sets
    assert chain(found, "nat", "KUBE-SERVICES")[0] == "-s ::1/128 -j RETURN"
    assert "icmp6-port-unreachable" in chain(found, "filter", "KUBE-IPVS-FILTER")[-1]


def test_servers_of_a_service() -> None:
    state = state_of(cluster(HERE, THERE).plan())
    port = VirtualKey("tcp", "192.168.4.101", 30080)
    assert state.servers == {
        WEB: VirtualServer("rr"),
        RealKey(WEB, HERE, 8080): RealServer(1),
        RealKey(WEB, THERE, 8080): RealServer(1),
        port: VirtualServer("rr"),
        RealKey(port, HERE, 8080): RealServer(1),
        RealKey(port, THERE, 8080): RealServer(1),
    }
    assert set(state.addresses) == {AddressKey("10.96.0.20")}


def test_entries_of_a_service() -> None:
    found = cluster(HERE, THERE)
    assert entries(found, "KUBE-CLUSTER-IP") == {"10.96.0.20,tcp:80"}
    assert entries(found, "KUBE-IPVS-IPS") == {"10.96.0.20"}
    assert entries(found, "KUBE-NODE-PORT-TCP") == {"30080"}
    assert entries(found, "KUBE-LOOP-BACK") == {f"{HERE},tcp:8080,{HERE}"}, "only of this node's pods"


def test_policy_local_is_told_to_the_sets() -> None:
    found = cluster(HERE, THERE, externalIPs=["172.16.0.1"], **LOCAL)
    assert entries(found, "KUBE-EXTERNAL-IP-LOCAL") == {"172.16.0.1,tcp:80"}
    assert entries(found, "KUBE-EXTERNAL-IP") == set()
    assert entries(found, "KUBE-NODE-PORT-LOCAL-TCP") == {"30080"} == entries(found, "KUBE-NODE-PORT-TCP")


def test_source_ranges() -> None:
    """Where the node is not in them, a rule keeps it out: its own packets pass no set of senders."""
    ranges = ["10.0.0.0/8", "8.8.8.8/32"]
    found = cluster(HERE, status=[{"ip": "172.16.0.2"}], loadBalancerSourceRanges=ranges)
    assert entries(found, "KUBE-LOAD-BALANCER-FW") == {"172.16.0.2,tcp:80"}
    expected = {"172.16.0.2,tcp:80,10.0.0.0/8", "172.16.0.2,tcp:80,8.8.8.8"}
    assert entries(found, "KUBE-LOAD-BALANCER-SOURCE-CIDR") == expected
    assert chain(found, "filter", "KUBE-IPVS-OUT-FILTER") == (
        "-m addrtype --src-type LOCAL -m ipvs --vproto 6 --vaddr 172.16.0.2 --vport 80 -j DROP",
    )
    found.service(
        "web", "10.96.0.20", "http 80/tcp", status=[{"ip": "172.16.0.2"}], loadBalancerSourceRanges=["192.168.4.0/24"]
    )
    assert entries(found, "KUBE-LOAD-BALANCER-SOURCE-CIDR") == {"172.16.0.2,tcp:80,192.168.4.0/24"}
    assert entries(found, "KUBE-LOAD-BALANCER-SOURCE-IP") == {"172.16.0.2,tcp:80,172.16.0.2"}
    assert chain(found, "filter", "KUBE-IPVS-OUT-FILTER") == ()


def test_the_address_itself_as_a_source_range_does_not_let_the_node_in() -> None:
    found = cluster(HERE, status=[{"ip": "172.16.0.2"}], loadBalancerSourceRanges=["172.16.0.2/32"])
    assert entries(found, "KUBE-LOAD-BALANCER-SOURCE-CIDR") == {"172.16.0.2,tcp:80,172.16.0.2"}
    assert chain(found, "filter", "KUBE-IPVS-OUT-FILTER")


def test_a_range_of_everybody_is_no_range() -> None:
    """The kernel's sets take no prefix of no length."""
    found = cluster(HERE, status=[{"ip": "172.16.0.2"}], loadBalancerSourceRanges=["0.0.0.0/0"])
    assert entries(found, "KUBE-LOAD-BALANCER-FW") == set()


def test_the_chains_of_kube_proxy() -> None:
    found = cluster(HERE)
    assert chain(found, "nat", "KUBE-SERVICES") == (
        "-s 127.0.0.0/8 -j RETURN",
        '! -s 10.244.0.0/16 -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose" '
        "-m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ",
        "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT",
        "-m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
    )
    assert chain(found, "nat", "KUBE-POSTROUTING") == (
        '-m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" '
        "-m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE",
        "-m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-j MARK --set-xmark 0x4000/0x0",
        '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    )
    assert chain(found, "filter", "KUBE-IPVS-FILTER") == (
        "-m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN",
        "-m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN",
        "-m set --match-set KUBE-EXTERNAL-IP dst,dst -j RETURN",
        "-m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst -j RETURN",
        "-m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j RETURN",
        "-m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable",
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"masquerade_all": True}, "-m comment"),
        ({"pod_traffic": PodTraffic(interface="veth*")}, "! -i veth+ -m comment"),
        ({"pod_traffic": None}, "-m comment"),
    ],
)
def test_who_is_hidden_at_a_cluster_ip(options: dict[str, Any], match: str) -> None:
    rule = chain(cluster(HERE, of=node(mode="ipvs", **options)), "nat", "KUBE-SERVICES")[1]
    assert rule.startswith(match)
    directions = "src,dst" if options.get("pod_traffic", 1) is None else "dst,dst"
    assert rule.endswith(f"-m set --match-set KUBE-CLUSTER-IP {directions} -j KUBE-MARK-MASQ")


def plan_with(base: Cluster, **changes: Any) -> Plan:
    """A plan whose rules have other schedulers or weights."""
    plan = base.plan()
    services = {
        key: replace(service, rules={f: replace(rule, **changes) for f, rule in service.rules.items()})
        for key, service in plan.services.items()
    }
    return replace(plan, services=services)


def test_a_scheduler_and_weights_of_ones_own() -> None:
    found = cluster(HERE, THERE)
    target = next(iter(rule_of(found).from_others.targets))  # type: ignore[union-attr]
    state = state_of(plan_with(found, scheduler="wrr", weights={target: 3}))
    assert state.servers[WEB] == VirtualServer("wrr")
    assert {state.servers[RealKey(WEB, HERE, 8080)], state.servers[RealKey(WEB, THERE, 8080)]} == {
        RealServer(3),
        RealServer(1),
    }
    assert state_of(plan_with(found, scheduler="mh")).servers[WEB] == VirtualServer("mh", hashes_ports=True)


def rule_of(found: Cluster) -> Rule:
    service = next(iter(found.plan().services.values()))
    return next(rule for rule in service.rules.values() if rule.kind is FrontendKind.CLUSTER_IP)


def test_an_unknown_scheduler_is_told_once_and_the_configured_one_used(caplog: pytest.LogCaptureFixture) -> None:
    world = World(scheduler="lc").web(HERE)
    plan = plan_with(world.cluster, scheduler="best")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            parts = world.backend.compile(plan).parts
    assert any(part.get(WEB) == VirtualServer("lc") for part in parts.values())
    assert [record.getMessage() for record in caplog.records] == ["No such scheduler, using the configured one"]


def test_parts_are_kept_while_their_service_is() -> None:
    found, compiler = cluster(HERE), Compiler(MARK, "rr")
    found.service("other", "10.96.0.21", "http 80/tcp")
    before = compiler.compile(found.plan())
    found.endpoints("other", "http 8080/tcp", HERE)
    after = compiler.compile(found.plan())
    assert before.changed is None
    same = {str(name) for name in before.parts if before.parts[name] is after.parts[name]}
    assert same == {str(name) for name in before.parts} - {"default/other"}
    assert {str(name) for name in after.changed or ()} == {"default/other"}, "the hairpin entry was there already"


def test_what_two_services_share_stays_until_both_are_gone() -> None:
    found, compiler = cluster(HERE, externalIPs=["172.16.0.1"]), Compiler(MARK, "rr")
    found.service("other", "10.96.0.21", "http 81/tcp", externalIPs=["172.16.0.1"])
    shared = AddressKey("172.16.0.1")
    for name, expected in (("web", True), ("other", False)):
        found.delete(name)
        parts = compiler.compile(found.plan()).parts
        assert any(shared in part for part in parts.values()) is expected


def test_an_empty_service_is_nothing() -> None:
    assert compile_service(ServicePlan({}), node(mode="ipvs"), "rr").own == {}


# -- making it so ------------------------------------------------------------------------------------------------------


def test_a_service_is_whole_before_its_address_is_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        world = await World().synced()
        order: list[str] = []
        for name, door in (("sets", world.sets), ("servers", world.servers)):
            before = door.commit
            monkeypatch.setattr(door, "commit", lambda c, name=name, before=before: (order.append(name), before(c)))
        change = world.dummy.change
        monkeypatch.setattr(world.dummy, "change", lambda a, r: (order.append("addresses"), change(a, r)))
        await world.web(HERE).synced()
        assert [name for n, name in enumerate(order) if name not in order[:n]] == ["sets", "servers", "addresses"]

    play(work)


def test_a_restart_changes_nothing() -> None:
    async def work() -> None:
        world = await World().web(HERE, THERE, sessionAffinity="ClientIP").synced()
        again = Runner(world.started(), world.cluster.plan, ManualClock())
        assert (await again.sync()).changes == 0

    play(work)


def test_what_others_take_away_comes_back() -> None:
    async def work() -> None:
        world = await World().web(HERE, THERE).synced()
        assert await world.backend.is_intact()
        for spoil in (spoil_servers, spoil_sets, spoil_chains, spoil_addresses):
            spoil(world)
            assert not await world.backend.is_intact(), spoil
            world.runner.doubt()
            await world.synced()
            assert await world.backend.is_intact(), spoil
        assert await world.backend.read() == state_of(world.cluster.plan()).flat()

    play(work)


def spoil_servers(world: World) -> None:
    world.servers.commit(Changes(remove={RealKey(WEB, HERE, 8080): RealServer()}))


def spoil_sets(world: World) -> None:
    world.sets.commit(Changes(remove={EntryKey("KUBE-CLUSTER-IP", "10.96.0.20,tcp:80"): ENTRY}))


def spoil_chains(world: World) -> None:
    world.chains.restore("*nat\n:KUBE-MARK-MASQ - [0:0]\nCOMMIT\n")


def spoil_addresses(world: World) -> None:
    world.dummy.delete()


def test_virtual_servers_of_others_go_but_for_excluded_ones() -> None:
    async def work() -> None:
        world = World(excluded=(ip_network("10.9.0.0/16"),))
        foreign = {VirtualKey("tcp", address, 1): VirtualServer("wlc") for address in ("10.9.0.1", "10.10.0.1")}
        world.servers.commit(Changes({**foreign}))
        await world.web(HERE).synced()
        assert [key.address for key in foreign if key in world.servers.state] == ["10.9.0.1"]
        assert await world.backend.is_intact()

    play(work)


def test_one_refusal_leaves_the_rest_alone() -> None:
    async def work() -> None:
        world = await World().web(HERE).synced()
        bad = {RealKey(VirtualKey("tcp", "10.96.0.99", 80), HERE, 1): RealServer()}
        with pytest.raises(Refused, match=r"IPVS: 10\.96\.0\.99:80/tcp -> 10\.244\.1\.5:1: No such process"):
            await world.backend.commit(Changes({**bad, AddressKey("10.96.0.98"): BOUND}))
        assert "10.96.0.98" in (world.dummy.addresses or set())

    play(work)


def test_sets_are_destroyed_last() -> None:
    async def work() -> None:
        world = await World().web(HERE).synced()
        await world.backend.commit(Changes(remove=await world.backend.read()))
        assert (world.servers.state, world.sets.sets, world.dummy.addresses) == ({}, {}, set())
        assert SetKey("KUBE-CLUSTER-IP") not in await world.backend.read()
        assert not world.chains.tables["nat"]["PREROUTING"]

    play(work)


def test_node_ports_are_on_every_address_that_takes_them() -> None:
    two = node(mode="ipvs", addresses=(NODE_1, ip_network("10.9.9.9").network_address), node_port_addresses=None)
    servers = state_of(cluster(HERE, of=two).plan()).servers
    assert {key.address for key in servers if isinstance(key, VirtualKey) and key.port == 30080} == {
        "192.168.4.101",
        "10.9.9.9",
    }


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("door", ["sets", "chains", "servers", "dummy"])
def test_an_end_in_the_middle_is_made_good_by_the_next_start(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object) -> None:
        raise Killed

    async def work() -> None:
        world = await World().web(HERE, THERE, externalIPs=["172.16.0.1"]).synced()
        world.cluster.delete("web")
        world.cluster.service("other", "10.96.0.21", "http 80/tcp", status=[{"ip": "172.16.0.2"}])
        world.cluster.endpoints("other", "http 8080/tcp", HERE)
        with monkeypatch.context() as patch:
            patch.setattr(getattr(world, door), "change" if door == "dummy" else "commit", end)
            with pytest.raises(Killed):
                await world.runner.sync()
        again = world.started()
        await Runner(again, world.cluster.plan, ManualClock()).sync()
        assert await again.read() == state_of(world.cluster.plan()).flat()

    play(work)
