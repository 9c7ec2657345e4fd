"""Every mode gives real packets the fate that the plan decides, over families, policies and states of endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from clusterip.failure import Failure
from clusterip.proxy.model import Family
from clusterip.proxy.plan import decide
from clusterip.proxy.verdict import Deliver, Packet, Verdict
from packets.fates import fate
from packets.lab import Lab
from packets.nodeproxy import modes_here
from proxy.clusters import packet, v6

pytestmark = pytest.mark.root

POLICIES = ("Cluster", "Local")
HERE, THERE, CLIENT, OUTSIDE = "10.244.1.5", "10.244.2.5", "10.244.1.9", "192.168.4.1"
STATES = (
    (HERE, THERE),
    (THERE,),
    (f"{HERE} terminating", THERE),
    (f"{HERE} terminating",),
    (f"{HERE} unready",),
    (),
)
EXTERNAL = {Family.IPV4: "192.168.4.50", Family.IPV6: "fd00:192:168:5::50"}
VIP = {Family.IPV4: "10.96.0.20", Family.IPV6: "fd00:10:96::20"}


@pytest.fixture(params=[f"{mode} {family.name}" for mode, family in product(modes_here(), Family)])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, Family]]:
    mode, family = request.param.split()
    with Lab(mode) as lab:
        yield lab, Family[family]


def _own(text: str, family: Family) -> str:
    """The same machine in that family."""
    if family is Family.IPV4:
        return text
    address, *state = text.split()
    return " ".join([v6(address), *state])


def _paths(family: Family) -> Iterator[str]:
    def there(host: str, port: int, protocol: str) -> str:
        return f"[{host}]:{port}/{protocol}" if ":" in host else f"{host}:{port}/{protocol}"

    node = _own("192.168.4.101", family)
    for sender, protocol in product((CLIENT, HERE, "node", OUTSIDE), ("tcp", "udp")):
        source = sender if sender == "node" else _own(sender, family)
        yield f"{source} -> {there(VIP[family], 80, protocol)}"
        yield f"{source} -> {there(node, 30080, protocol)}"
        yield f"{source} -> {there(EXTERNAL[family], 80, protocol)}"


def _seen(verdict: Verdict, sent: Packet) -> Verdict:
    if isinstance(verdict, Deliver) and not sent.interface:
        return Deliver(frozenset(way._replace(masqueraded=False) for way in verdict.ways))
    return verdict


def test_the_kernel_does_what_the_plan_decides(place: tuple[Lab, Family]) -> None:
    lab, family = place
    cluster = lab.cluster(family=family)
    try:
        proxy = lab.proxy("node-1", cluster.plan)
    except Failure as failure:
        pytest.skip(str(failure))
    for number, (external, internal, state) in enumerate(product(POLICIES, POLICIES, STATES)):
        spec: dict[str, Any] = {"externalTrafficPolicy": external, "internalTrafficPolicy": internal}
        endpoints = [_own(text, family) for text in state]
        ports = ("http 80/tcp 30080", "dns 80/udp 30080")
        cluster.service("web", VIP[family], *ports, externalIPs=[EXTERNAL[family]], **spec)
        for target in ("http 8080/tcp", "dns 5353/udp"):
            cluster.endpoints("web", target, *endpoints)
        proxy.sync()
        plan = cluster.plan()
        for path in list(_paths(family))[number % 7 :: 7]:
            sent = packet(path, plan.node)
            expected = decide(plan, sent)
            assert _seen(fate(lab, sent, expected), sent) == _seen(expected, sent), (path, spec, endpoints)
