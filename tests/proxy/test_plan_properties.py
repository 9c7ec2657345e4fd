"""What holds for any objects in any order: the same plan, made at once or step by step, and decisions that fit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterip.proxy.model import Family, Forward, Node, Plan, PodTraffic, Snapshot, Traits
from clusterip.proxy.objects import EndpointSlice, Service, decoder
from clusterip.proxy.plan import Planner, decide, find_rule
from clusterip.proxy.snapshot import Collector
from clusterip.proxy.verdict import Deliver, Packet
from proxy.clusters import PODS, node

Tree = dict[str, Any]
SERVICES = ("a", "b", "c")
VIPS = ("10.96.0.20", "10.96.0.21", "10.96.0.22", "fd00:10:96::20", "fd00:10:96::21", "None")
OUTSIDE = ("172.16.0.1", "172.16.0.2", "fd00::50")
ENDPOINTS = ("10.244.1.5", "10.244.1.6", "10.244.2.5", "192.168.4.101")
SENDERS = ("10.244.1.5", "10.244.1.200", "10.244.2.5", "192.168.4.101", "192.168.4.1", "172.16.0.1")
POLICIES = st.sampled_from(["Cluster", "Local", None])
MAYBE = st.sampled_from([True, False, None])
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def services(draw: st.DrawFn) -> Tree:
    ports = [
        {"name": "h", "port": 80, "protocol": "TCP", "nodePort": draw(st.sampled_from([0, 30080, 30081]))},
        {"name": "d", "port": draw(st.sampled_from([53, 80])), "protocol": "UDP", "nodePort": 30080},
        {"name": "s", "port": 80, "protocol": "SCTP"},
    ]
    return {
        "kind": "Service",
        "metadata": {
            "name": draw(st.sampled_from(SERVICES)),
            "namespace": "n",
            "creationTimestamp": f"2026-01-0{draw(st.integers(1, 3))}T00:00:00Z",
            "labels": draw(st.sampled_from([{}, {}, {}, {"service.kubernetes.io/service-proxy-name": "x"}])),
            "annotations": draw(st.sampled_from([{}, {"clusterip.dev/endpoint-weights": "10.244.1.5=3"}])),
        },
        "spec": {
            "type": draw(st.sampled_from(["ClusterIP", "LoadBalancer", "LoadBalancer", "ExternalName"])),
            "clusterIP": (vip := draw(st.sampled_from(VIPS))),
            "clusterIPs": [vip, *draw(st.lists(st.sampled_from(VIPS), max_size=1))],
            "ports": draw(st.lists(st.sampled_from(ports), max_size=3, unique_by=lambda port: port["name"])),
            "externalIPs": draw(st.lists(st.sampled_from(OUTSIDE), max_size=2)),
            "externalTrafficPolicy": draw(POLICIES),
            "internalTrafficPolicy": draw(POLICIES),
            "sessionAffinity": draw(st.sampled_from(["None", "ClientIP"])),
            "healthCheckNodePort": 32000,
            "loadBalancerSourceRanges": draw(
                st.lists(st.sampled_from(["192.168.4.0/24", "10.0.0.0/8", "fd00::/8"]), max_size=2)
            ),
        },
        "status": {"loadBalancer": {"ingress": [{"ip": draw(st.sampled_from(OUTSIDE))}]}},
    }


@st.composite
def slices(draw: st.DrawFn) -> Tree:
    def endpoint(address: str) -> Tree:
        return {
            "addresses": [address],
            "nodeName": draw(st.sampled_from(["node-1", "node-2", None])),
            "conditions": {"ready": draw(MAYBE), "serving": draw(MAYBE), "terminating": draw(MAYBE)},
            "hints": draw(st.sampled_from([None, {"forZones": [{"name": "z"}]}, {"forNodes": [{"name": "node-1"}]}])),
        }

    return {
        "kind": "EndpointSlice",
        "metadata": {
            "name": draw(st.sampled_from(["one", "two", "three"])),
            "namespace": "n",
            "labels": {"kubernetes.io/service-name": draw(st.sampled_from(SERVICES))},
        },
        "addressType": draw(st.sampled_from(["IPv4", "IPv4", "IPv4", "IPv6"])),
        "endpoints": [endpoint(address) for address in draw(st.lists(st.sampled_from(ENDPOINTS), max_size=3))],
        "ports": [
            {"name": "h", "port": 8080, "protocol": "TCP"},
            {"name": "d", "port": 5353, "protocol": "UDP"},
            {"name": "s", "port": 9, "protocol": "SCTP"},
        ],
    }


@st.composite
def traits(draw: st.DrawFn) -> Traits:
    return Traits(**{name: draw(st.booleans()) for name in Traits.__slots__})


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    return node(
        pod_traffic=draw(st.sampled_from([PodTraffic(PODS), PodTraffic(interface="veth*"), None])),
        zone=draw(st.sampled_from(["", "z"])),
        masquerade_all=draw(st.booleans()),
        localhost_node_ports=draw(st.booleans()),
        traits=draw(traits()),
        family=draw(st.sampled_from([Family.IPV4, Family.IPV4, Family.IPV6])),
    )


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    source = draw(st.sampled_from(SENDERS))
    interface = "" if source == "192.168.4.101" else "veth1" if source.startswith("10.244.1.") else "eth0"
    places = ("10.96.0.20", "10.96.0.21", "10.96.9.9", "172.16.0.1", "172.16.0.2", "192.168.4.101", "127.0.0.1")
    destination, protocol = draw(st.sampled_from(places)), draw(st.sampled_from(["tcp", "udp", "sctp"]))
    port = draw(st.sampled_from([80, 53, 30080, 30081]))
    return Packet(ip_address(source), ip_address(destination), protocol, port, interface)


OBJECTS = st.lists(st.one_of(services(), slices()), max_size=8)


@dataclass
class World:
    """The objects that there are, and a collector that was told of every change."""

    of: Node
    objects: dict[tuple[str, str], Tree] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.collector = Collector(self.of)

    def put(self, tree: Tree) -> None:
        self._tell(tree["kind"], tree["metadata"]["name"], tree)

    def remove(self, kind: str, name: str) -> None:
        self._tell(kind, name, None)

    def _tell(self, kind: str, name: str, new: Tree | None) -> None:
        old = self.objects.pop((kind, name), None)
        if new is not None:
            self.objects[kind, name] = new
        if kind == "Service":
            self.collector.on_service(("n", name), *(found and decoder(Service)(found) for found in (old, new)))
        else:
            self.collector.on_slice(("n", name), *(found and decoder(EndpointSlice)(found) for found in (old, new)))

    def from_scratch(self) -> Snapshot:
        other = World(self.collector.node)
        for tree in self.objects.values():
            other.put(tree)
        return other.collector.snapshot()


@QUICK
@given(of=nodes(), data=st.data(), trees=OBJECTS)
def test_the_order_of_objects_means_nothing(of: Node, data: st.DataObject, trees: list[Tree]) -> None:
    known = {(tree["kind"], tree["metadata"]["name"]): tree for tree in trees}
    one, other = World(of), World(of)
    for tree in known.values():
        one.put(tree)
    for tree in data.draw(st.permutations(list(known.values()))):
        other.put(tree)
    assert one.collector.snapshot().conflicts == other.collector.snapshot().conflicts
    assert Planner().plan(one.collector.snapshot()) == Planner().plan(other.collector.snapshot())


STEPS = st.lists(
    st.one_of(
        services(),
        slices(),
        st.tuples(st.just("Service"), st.sampled_from(SERVICES)),
        st.tuples(st.just("EndpointSlice"), st.sampled_from(["one", "two", "three"])),
        nodes(),
    ),
    max_size=12,
)


@QUICK
@given(of=nodes(), steps=STEPS, sent=st.lists(packets(), max_size=3))
def test_step_by_step_leads_where_a_new_start_leads(of: Node, steps: list[Any], sent: list[Packet]) -> None:
    world, planner = World(of), Planner()
    before = planner.plan(world.collector.snapshot())
    for step in steps:
        match step:
            case Node():
                world.collector.on_node(replace(step, family=of.family, addresses=of.addresses))
            case (kind, name):
                world.remove(kind, name)
            case _:
                world.put(step)
        plan = planner.plan(world.collector.snapshot())
        scratch = world.from_scratch()
        assert plan == Planner().plan(scratch)
        assert world.collector.snapshot().conflicts == scratch.conflicts
        assert [decide(plan, packet) for packet in sent] == [decide(Planner().plan(scratch), packet) for packet in sent]
        _assert_changes_are_told(before, plan)
        before = plan


def _assert_changes_are_told(before: Plan, after: Plan) -> None:
    changed = after.changed_since(before.revision)
    if changed is None:
        assert before.node != after.node
        return
    keys = set(before.services) | set(after.services)
    assert {key for key in keys if before.services.get(key) is not after.services.get(key)} <= changed
    assert after.changed_since(after.revision) == frozenset()
    assert after.changed_since(0) is None


@QUICK
@given(of=nodes(), trees=OBJECTS, sent=st.lists(packets(), min_size=1, max_size=8))
def test_decisions_fit_the_rule_of_the_frontend(of: Node, trees: list[Tree], sent: list[Packet]) -> None:
    world = World(of)
    for tree in trees:
        world.put(tree)
    plan = Planner().plan(world.collector.snapshot())
    for packet in sent:
        rule, verdict = find_rule(plan, packet), decide(plan, packet)
        if rule is None:
            assert not isinstance(verdict, Deliver)
        if isinstance(verdict, Deliver):
            assert rule is not None
            outcomes = (rule.from_pods, rule.from_node, rule.from_others)
            places = [{target[:2] for target in found.targets} for found in outcomes if isinstance(found, Forward)]
            assert {way[:2] for way in verdict.ways} in places
            assert not of.traits.hides_sender or all(way.masqueraded for way in verdict.ways)
            assert not rule.source_ranges or any(packet.source in network for network in rule.source_ranges)


def test_a_reader_that_missed_a_plan_is_told_so() -> None:
    world, planner = World(node()), Planner()
    plans = []
    for name in SERVICES:
        world.put(
            {"kind": "Service", "metadata": {"name": name, "namespace": "n"}, "spec": {"clusterIP": "10.96.0.20"}}
        )
        plans.append(planner.plan(world.collector.snapshot()))
    assert plans[2].changed_since(plans[1].revision) == {key for key in plans[2].services if key.name == "c"}
    assert plans[2].changed_since(plans[0].revision) is None


def test_a_planner_that_missed_a_snapshot_finds_what_changed() -> None:
    world, planner = World(node()), Planner()
    first = planner.plan(world.collector.snapshot())
    for name in SERVICES:
        world.put(
            {"kind": "Service", "metadata": {"name": name, "namespace": "n"}, "spec": {"clusterIP": "10.96.0.20"}}
        )
        snapshot = world.collector.snapshot()
    plan = planner.plan(snapshot)
    changed: Mapping[Any, Any] | Any = plan.changed_since(first.revision)
    assert {key.name for key in changed} == set(SERVICES)
    assert plan == Planner().plan(snapshot)
