"""Mode userspace on a fake kernel and a fake relay: verdicts, order of steps, ports that move, relays that end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterip.diff import Changes
from clusterip.kernel.iptables import ChainKey
from clusterip.proxy.backends import Refused
from clusterip.proxy.backends.userspace import TRAITS, Compiler
from clusterip.proxy.backends.userspace_rules import CHAINS, PORTALS_CONTAINER, ListenerKey
from clusterip.proxy.model import Node
from clusterip.proxy.plan import decide
from clusterip.proxy.relay.table import Listener
from clusterip.proxy.verdict import Packet
from proxy.clusters import Cluster, node, packet
from proxy.test_nftables_oracle import CLUSTERS, VIPS, fill, nodes, packets
from proxy.userspace_walking import Programmed, verdict_of

HERE, THERE = "10.244.1.5", "10.244.2.5"
CLUSTER, LOCAL = "default/web:http/tcp/cluster", "default/web:http/tcp/local"


def web(*endpoints: str, **spec: Any) -> Cluster:
    cluster = Cluster(node(traits=TRAITS))
    cluster.service("web", "10.96.0.20", "http 80/tcp 30080", **spec)
    cluster.endpoints("web", "http 8080/tcp", *endpoints)
    return cluster


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(of=nodes(), localhost=st.booleans(), found=CLUSTERS, sent=st.lists(packets(), min_size=1, max_size=6))
def test_rules_and_relay_do_what_the_plan_decides(
    of: Node, localhost: bool, found: dict[str, Any], sent: list[Packet]
) -> None:
    cluster = Cluster(replace(of, traits=TRAITS, localhost_node_ports=localhost))
    fill(cluster, found)
    plan = cluster.plan()
    made = Programmed(plan)
    for found_packet in sent:
        assert verdict_of(made, found_packet) == decide(plan, found_packet), found_packet


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(CLUSTERS, min_size=2, max_size=5), ends=st.sets(st.integers(0, 4)))
def test_changes_lead_where_a_new_start_leads(steps: list[dict[str, Any]], ends: set[int]) -> None:
    """Step by step, with relays that end in between."""
    cluster = Cluster(node(traits=TRAITS))
    made = Programmed(cluster.plan())
    for number, step in enumerate(steps):
        for service in range(len(VIPS)):
            cluster.delete(f"s{service}")
        fill(cluster, step)
        if number in ends:
            made.relay.die()
            made.runner.doubt()
        made.sync(cluster.plan())
    whole = Programmed(cluster.plan())
    assert (made.relay.listeners or {}) == (whole.relay.listeners or {})
    assert shape(made) == shape(whole)
    made.runner.doubt()
    assert made.sync() == 0


def shape(made: Programmed) -> Any:
    """The rules with listeners for ports."""
    return asyncio.run(made.backend.read())


def test_what_the_lesson_greps_for() -> None:
    made = Programmed(web(HERE).plan())
    lines = made.tables.save().splitlines()
    port = made.relay.ports[CLUSTER]
    tail = '-p tcp -m comment --comment "default/web:http" -m tcp --dport'
    to = f"-j DNAT --to-destination 192.168.4.101:{port}"
    assert f"-A KUBE-PORTALS-CONTAINER -d 10.96.0.20/32 {tail} 80 {to}" in lines
    assert f"-A KUBE-PORTALS-HOST -d 10.96.0.20/32 {tail} 80 {to}" in lines
    assert f"-A KUBE-NODEPORT-CONTAINER {tail} 30080 {to}" in lines
    assert f"-A KUBE-NODEPORT-HOST {tail} 30080 {to}" in lines


def test_endpoints_are_the_relays_business_alone() -> None:
    cluster = web(HERE)
    made = Programmed(cluster.plan())
    made.tables.scripts.clear()
    cluster.endpoints("web", "http 8080/tcp", HERE, THERE)
    assert made.sync(cluster.plan()) > 0
    assert made.tables.scripts == []
    assert len(made.relay.listeners[CLUSTER].targets) == 2  # type: ignore[index]


def test_policy_local_has_a_listener_of_its_own_where_it_differs() -> None:
    made = Programmed(web(HERE, THERE, externalTrafficPolicy="Local").plan())
    found = made.relay.listeners or {}
    assert {name: len(listener.targets) for name, listener in found.items()} == {CLUSTER: 2, LOCAL: 1}
    assert {listener.group for listener in found.values()} == {"default/web:http/tcp"}


def test_a_listener_is_opened_before_and_closed_after_its_rules() -> None:
    told: list[str] = []
    made = Programmed(web().plan())
    commit, put, remove = made.tables.commit, made.relay.put, made.relay.remove

    async def committed(*stages: Changes[Any, Any]) -> None:
        told.append("rules")
        await commit(*stages)

    async def opened(listeners: Any) -> Any:
        told.append("open")
        return await put(listeners)

    async def closed(names: Any) -> None:
        told.append("close")
        await remove(names)

    made.tables.commit, made.relay.put, made.relay.remove = committed, opened, closed  # type: ignore[method-assign]
    made.sync(web(HERE).plan())
    made.sync(web().plan())
    assert told == ["open", "rules", "rules", "close"]


def test_a_port_that_is_somebody_elses_now_moves_with_its_rules() -> None:
    made = Programmed(web(HERE).plan())
    old = made.relay.ports[CLUSTER]
    made.relay.die()
    made.relay.taken.add(old)
    made.runner.doubt()
    made.sync()
    new = made.relay.ports[CLUSTER]
    assert new != old
    assert f":{old}" not in made.tables.save()
    assert verdict_of(made, packet("10.244.1.9 -> 10.96.0.20:80/tcp")) == decide(
        made.plan, packet("10.244.1.9 -> 10.96.0.20:80/tcp")
    )


def test_a_listener_that_cannot_be_opened_is_left_out_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    cluster = web(HERE)
    cluster.service("good", "10.96.0.21", "http 80/tcp")
    cluster.endpoints("good", "http 8080/tcp", HERE)
    made = Programmed(web().plan())
    made.relay.refused = {CLUSTER}
    made.sync(cluster.plan())
    assert "cannot listen" in caplog.text
    assert "10.96.0.20" not in made.tables.save()
    assert "10.96.0.21" in made.tables.save()
    assert not asyncio.run(made.backend.is_intact())
    made.relay.refused = set()
    made.runner.doubt()
    made.sync()
    assert "10.96.0.20" in made.tables.save()
    assert asyncio.run(made.backend.is_intact())


def test_the_end_of_the_relay_is_told_and_mended(caplog: pytest.LogCaptureFixture) -> None:
    made = Programmed(web(HERE).plan())
    before = made.tables.save()

    async def body() -> None:
        ended = asyncio.Event()
        async with made.backend.watch(ended.set):
            await made.backend.commit(Changes(put={ListenerKey(CLUSTER): Listener("web", "tcp", "192.168.4.101")}))
            made.runner.doubt()
            await made.runner.sync()
            for _ in range(3):
                ended.clear()
                made.relay.die()
                assert not await made.backend.is_intact()
                await asyncio.wait_for(ended.wait(), 30)
                made.runner.doubt()
                await made.runner.sync()
                assert await made.backend.is_intact()
        assert made.relay.listeners is None

    asyncio.run(body())
    assert made.tables.save() == before
    assert "The relay has ended" in caplog.text


def test_without_a_relay_the_old_rules_stand() -> None:
    made = Programmed(web(HERE).plan())
    before = made.tables.save()
    made.relay.die()
    with pytest.raises(Refused, match="no relay runs"):
        made.sync(web(HERE, THERE).plan())
    assert made.tables.save() == before
    made.sync()
    assert len(made.relay.listeners[CLUSTER].targets) == 2  # type: ignore[index]


def test_rules_that_a_dead_proxy_left_are_taken_over_or_replaced() -> None:
    first = Programmed(web(HERE).plan())
    second = Programmed(web(HERE).plan())
    second.tables.tables = first.tables.tables
    first.tables.tables["nat"]["KUBE-PORTALS-CONTAINER"].append("-j RETURN")
    second.runner.doubt()
    assert second.sync() > 0
    second.runner.doubt()
    assert second.sync() == 0


def test_one_change_compiles_one_service() -> None:
    cluster = web(HERE)
    cluster.service("other", "10.96.0.21", "http 80/tcp")
    cluster.endpoints("other", "http 8080/tcp", HERE)
    compiler = Compiler()
    first = compiler.compile(cluster.plan())
    cluster.endpoints("other", "http 8080/tcp", HERE, THERE)
    second = compiler.compile(cluster.plan())
    assert first.changed is None
    assert second.changed
    differ = {name for name in first.parts if first.parts[name] is not second.parts.get(name)}
    assert differ <= second.changed
    assert len(differ) == 1
    assert compiler.compile(cluster.plan()).changed == frozenset({"rules"})


def test_services_that_a_relay_cannot_serve_are_left_alone() -> None:
    cluster = Cluster(node(traits=TRAITS))
    cluster.service("sctp", "10.96.0.22", "a 80/sctp")
    cluster.endpoints("sctp", "a 8080/sctp", HERE)
    made = Programmed(cluster.plan())
    assert made.relay.listeners is None
    assert "10.96.0.22" not in made.tables.save()
    nowhere = web(HERE)
    nowhere.collector.on_node(Node("node-1", traits=TRAITS))
    parts = Compiler().compile(nowhere.plan()).parts
    assert {key: parts["rules"][key] for key in CHAINS} == dict.fromkeys(CHAINS, ())


def test_every_part_is_disjoint() -> None:
    parts = Compiler().compile(web(HERE, THERE, externalTrafficPolicy="Local").plan()).parts
    keys = [key for part in parts.values() for key in part]
    assert len(keys) == len(set(keys))
    assert ListenerKey(CLUSTER) in keys
    assert PORTALS_CONTAINER in keys
    assert all(isinstance(value, (Listener, tuple)) or key for part in parts.values() for key, value in part.items())
    assert ChainKey("nat", "KUBE-PORTALS-HOST") in keys
