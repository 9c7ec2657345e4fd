"""Any packet through the compiled tables of any pods and policies meets the fate that the plan decides."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterip.api.meta import Tree
from clusterip.diff import diff_parts, flat, patched
from clusterip.kernel import first_packet, nft_walk
from clusterip.kernel.nft import Element, Kind, State
from clusterip.policy.compile import Compiler
from clusterip.policy.model import Packet, Picture
from clusterip.policy.plan import decide
from clusterip.policy.reading import labels_of, read_pod, read_policy
from clusterip.policy.snapshot import Collector
from policy.pictures import NODE, collected, picture, pod, policy

SPACES = ("default", "b")
APPS = ("web", "db")
LOCAL = ("10.244.1.5", "10.244.1.6")
REMOTE = ("10.244.2.5", "10.244.2.6")
SENDERS = (*LOCAL, *REMOTE, "10.244.1.9", "192.168.4.1", "192.168.4.101", "8.8.8.8")
PORT_TEXTS = st.sampled_from([(80, "tcp"), (80, "udp"), (443, "tcp"), (53, "udp"), (8080, "tcp"), (9, "sctp")])
BLOCKS = st.sampled_from(
    [
        {"cidr": "10.244.0.0/16"},
        {"cidr": "0.0.0.0/0", "except": ["10.244.1.0/24", "8.8.8.8/32"]},
        {"cidr": "192.168.4.0/23"},
        {"cidr": "::/0"},
        {"cidr": "fd00:10:244::/48", "except": ["fd00:10:244:1::6/128"]},
    ]
)
SELECTORS = st.sampled_from(
    [
        {},
        {"matchLabels": {"app": "web"}},
        {"matchLabels": {"app": "db"}},
        {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]},
        {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
        {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
    ]
)
SPACE_SELECTORS = st.sampled_from(
    [{}, {"matchLabels": {"kubernetes.io/metadata.name": "b"}}, {"matchLabels": {"team": "x"}}]
)
PORTS = st.sampled_from(
    [
        {"port": 80},
        {"port": 80, "protocol": "UDP"},
        {"protocol": "UDP"},
        {"protocol": "SCTP"},
        {"port": "web"},
        {"port": "dns", "protocol": "UDP"},
        {"port": 80, "endPort": 90},
        {"port": 400, "endPort": 9000},
        {"port": 443, "protocol": "TCP"},
    ]
)


@st.composite
def peers(draw: st.DrawFn) -> Tree:
    kind = draw(st.sampled_from(["pods", "spaces", "both", "block"]))
    if kind == "block":
        return {"ipBlock": draw(BLOCKS)}
    found = {} if kind == "spaces" else {"podSelector": draw(SELECTORS)}
    return found if kind == "pods" else found | {"namespaceSelector": draw(SPACE_SELECTORS)}


@st.composite
def specs(draw: st.DrawFn) -> Tree:
    spec: Tree = {"podSelector": draw(SELECTORS)}
    for direction, side in (("ingress", "from"), ("egress", "to")):
        rules = [
            {side: draw(st.lists(peers(), max_size=2)), "ports": draw(st.lists(PORTS, max_size=2))}
            for _ in range(draw(st.integers(0, 2)))
        ]
        if rules or draw(st.booleans()):
            spec[direction] = rules
    types = draw(st.sampled_from([None, ["Ingress"], ["Egress"], ["Ingress", "Egress"]]))
    if draw(st.integers(0, 20)) == 0:
        return {"podSelector": spec["podSelector"], "ingress": [{"from": [{}]}]}
    return spec | ({"policyTypes": types} if types else {})


@st.composite
def pods(draw: st.DrawFn, address: str) -> Tree:
    labels = {"app": draw(st.sampled_from(APPS))} | draw(st.sampled_from([{}, {"tier": "front"}]))
    ports = draw(st.sampled_from([{}, {"web": "80"}, {"web": "8080", "dns": "53/UDP"}]))
    return pod(f"pod-{address}", *_both(address), namespace=draw(st.sampled_from(SPACES)), labels=labels, ports=ports)


def _both(address: str) -> tuple[str, str]:
    return address, _six(address)


def _six(address: str) -> str:
    parts = address.split(".")
    known = {"10": f"fd00:10:244:{parts[2]}::{parts[3]}", "192": f"fd00:192:168:4::{parts[3]}", "8": "2001:db8::8"}
    return known[parts[0]]


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    ends = draw(st.sampled_from(SENDERS)), draw(st.sampled_from((*LOCAL, *REMOTE, "10.244.1.9", "8.8.8.8")))
    if draw(st.booleans()):
        ends = _six(ends[0]), _six(ends[1])
    port, protocol = draw(PORT_TEXTS)
    return Packet(ip_address(ends[0]), ip_address(ends[1]), protocol, port)


def walked(state: State, asked: Packet) -> bool:
    """Whether a table of that family lets the packet pass."""
    interface = "" if asked.source in NODE.addresses else "veth"
    sent = first_packet.Packet(asked.source, asked.destination, asked.protocol, asked.port, interface)
    (end,) = nft_walk.endings(state, sent, NODE.addresses)
    return end.fate is first_packet.Fate.PASSED


def check(compilers: dict[int, Compiler], found: Picture, asked: list[Packet]) -> None:
    states = {version: flat(compiler.compile(found)) for version, compiler in compilers.items()}
    for each in asked:
        assert walked(states[each.source.version], each) is decide(found, each), each


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_tables_do_what_the_plan_decides_now_and_after_every_change(data: st.DataObject) -> None:
    """Also: what was compiled step by step is what would be compiled at once, and the changes lead there."""
    spaces = {"default": {}, "b": data.draw(st.sampled_from([{}, {"team": "x"}]))}
    all_pods = {address: data.draw(pods(address)) for address in (*LOCAL, *REMOTE) if data.draw(st.integers(0, 5))}
    trees = {
        name: policy(name, data.draw(specs()), data.draw(st.sampled_from(SPACES)))
        for name in ("p", "q", "r")[: data.draw(st.integers(0, 3))]
    }
    collector = collected(all_pods.values(), trees.values(), spaces)
    compilers = {4: Compiler("ip"), 6: Compiler("ip6")}
    asked = data.draw(st.lists(packets(), min_size=4, max_size=12))
    check(compilers, collector.picture(), asked)
    for _ in range(data.draw(st.integers(1, 3))):
        before = {version: compiler.compile(collector.picture()) for version, compiler in compilers.items()}
        _change(data, collector, all_pods, trees)
        check(compilers, collector.picture(), asked)
        named = {version: compiler.changed for version, compiler in compilers.items()}
        for version, family in ((4, "ip"), (6, "ip6")):
            now = compilers[version].compile(collector.picture())
            at_once = flat(Compiler(family).compile(collector.picture()))
            assert flat(now) == at_once
            assert patched(flat(before[version]), diff_parts(before[version], now)) == at_once
            moved = {name for name in (*before[version], *now) if before[version].get(name) is not now.get(name)}
            assert moved <= named[version]


def _change(data: st.DataObject, collector: Collector, all_pods: dict[str, Tree], trees: dict[str, Tree]) -> None:
    kind = data.draw(st.sampled_from(["pod", "policy", "space"]))
    if kind == "space":
        labels = {"kubernetes.io/metadata.name": "b"} | data.draw(st.sampled_from([{}, {"team": "x"}]))
        new = labels_of({"metadata": {"labels": labels}})
        collector.on_namespace(("", "b"), None, data.draw(st.sampled_from([new, None])))
    elif kind == "pod":
        address = data.draw(st.sampled_from((*LOCAL, *REMOTE)))
        old = all_pods.pop(address, None)
        if old:
            collector.on_pod(_key(old), read_pod(old), None)
        if data.draw(st.booleans()):
            all_pods[address] = tree = data.draw(pods(address))
            collector.on_pod(_key(tree), None, read_pod(tree))
    else:
        name = data.draw(st.sampled_from(["p", "q", "r"]))
        old = trees.pop(name, None)
        if old:
            collector.on_policy(_key(old), read_policy(old), None)
        if data.draw(st.booleans()):
            trees[name] = tree = policy(name, data.draw(specs()), data.draw(st.sampled_from(SPACES)))
            collector.on_policy(_key(tree), None, read_policy(tree))


def _key(tree: Tree) -> tuple[str, str]:
    return tree["metadata"]["namespace"], tree["metadata"]["name"]


def spec(**options: Any) -> Tree:
    return {"podSelector": {}, **options}


def test_a_pods_change_touches_elements_only() -> None:
    """Of the sets it belongs to, and of no other pod."""
    allow = spec(ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}])
    found = collected([pod("a", "10.244.1.5"), pod("b", "10.244.2.5")], [policy("p", allow)])
    compiler = Compiler("ip")
    before = compiler.compile(found.picture())
    old, new = pod("b", "10.244.2.5"), pod("b", "10.244.2.5", labels={"app": "web"})
    found.on_pod(("default", "b"), read_pod(old), read_pod(new))
    changes = diff_parts(before, compiler.compile(found.picture()))
    assert not changes.remove
    ((key, value),) = changes.put.items()
    assert (key.kind, key.element, value) == (Kind.ELEMENT, ip_address("10.244.2.5").packed, Element())


def test_pods_share_chains_and_sets() -> None:
    allow = spec(ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}]}])
    many = [pod(f"a{number}", f"10.244.1.{number}") for number in range(2, 100)]
    few = flat(Compiler("ip").compile(picture(many[:1], [policy("p", allow), policy("q", allow)])))
    all_of_them = flat(Compiler("ip").compile(picture(many, [policy("p", allow), policy("q", allow)])))
    kinds = (Kind.CHAIN, Kind.SET)
    assert {key for key in few if key.kind in kinds} == {key for key in all_of_them if key.kind in kinds}


def test_the_same_picture_is_no_work() -> None:
    compiler, found = Compiler("ip"), picture([pod("a", "10.244.1.5")])
    assert compiler.compile(found) is compiler.compile(found)
