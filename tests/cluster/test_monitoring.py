"""What is read off samples: who is watched, what answers, which connections count, and how it is shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any

import pytest

from clusterip.cluster.monitoring import Key, Lookup, Monitor, Probe, Readings, Sample, Spot, Watched, watched_ports
from clusterip.cluster.monitoring_view import Numbers, lines, tree, view
from clusterip.kernel.conntrack import Flow, Tuple

AT = datetime(2026, 1, 1, tzinfo=UTC)
VIP, ONE, TWO = Spot("10.96.0.7", 80), Spot("10.244.1.2", 8080), Spot("10.244.2.2", 8080)
WEB = Watched(Key("default", "web", "80/TCP"), (VIP,), frozenset({VIP}), {ONE: True, TWO: False}, {ONE: "web-1"})


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def slice_of(name: str, *endpoints: dict[str, Any], port: int = 8080, port_name: str = "") -> dict[str, Any]:
    meta = {"namespace": "default", "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}}
    return {"metadata": meta, "ports": [{"port": port, "name": port_name}], "endpoints": list(endpoints)}


def flow(source_port: int, front: Spot = VIP, endpoint: Spot = ONE, id: int = 0) -> Flow:
    client = IPv4Address("10.244.3.3")
    return Flow(
        Tuple(client, source_port, IPv4Address(front.address), front.port),
        Tuple(IPv4Address(endpoint.address), endpoint.port, client, source_port),
        id or source_port,
    )


def sample(*flows: Flow, probes: tuple[Probe, ...] = (), lookups: tuple[Lookup, ...] = ()) -> Sample:
    return Sample(AT, (WEB,), probes, lookups, {"node-1": flows})


def test_ports_with_their_ways_in_and_their_endpoints() -> None:
    port = {"port": 80, "nodePort": 30080, "name": "http"}
    full = service("web", clusterIPs=["10.96.0.7"], ports=[port], externalIPs=["203.0.113.10"])
    full["status"] = {"loadBalancer": {"ingress": [{"ip": "192.168.4.10"}]}}
    ready = {"addresses": ["10.244.1.2"], "conditions": {"ready": True}, "targetRef": {"name": "web-1"}}
    unready = {"addresses": ["10.244.2.2"], "conditions": {"ready": False}}
    slices = [slice_of("web", ready, unready, port_name="http"), slice_of("web", ready, port=9, port_name="admin")]
    [found] = watched_ports([full], slices, ["192.168.4.101"])
    assert found.key == Key("default", "web", "80/TCP")
    assert found.virtual == (VIP,)
    assert found.fronts == {VIP, ("203.0.113.10", 80), ("192.168.4.10", 80), ("192.168.4.101", 30080)}
    assert found.endpoints == {ONE: True, TWO: False}
    assert found.names == {ONE: "web-1"}


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None", "clusterIPs": ["None"]},
        {"type": "ExternalName", "externalName": "example.com"},
        {"clusterIPs": ["10.96.0.7"], "ports": [{"port": 53, "protocol": "UDP"}]},
    ],
    ids=["headless", "alias", "UDP"],
)
def test_what_cannot_be_asked_has_no_availability(spec: dict[str, Any]) -> None:
    watched = watched_ports([service("web", **spec)], [], [])
    [reading] = Monitor().observe(Sample(AT, watched)).ports
    assert reading.is_available is None
    assert reading.tries.share is None


def test_a_connection_counts_once_and_a_probe_never() -> None:
    monitor = Monitor()
    ours = Probe("node-1", VIP, 7000, 0.001)
    monitor.observe(sample(flow(1), flow(2, endpoint=TWO), probes=(ours,)))
    readings = monitor.observe(sample(flow(1), flow(3), flow(7000)))
    assert readings.ports[0].connections == {ONE: 2, TWO: 1}
    # the same port of the same client again, after the kernel forgot the first, is another connection
    monitor.observe(sample())
    readings = monitor.observe(sample(flow(1, id=99)))
    assert readings.ports[0].connections == {ONE: 3, TWO: 1}


def test_a_probe_that_the_kernel_has_forgotten_is_forgotten() -> None:
    monitor, ours = Monitor(), (Probe("node-1", VIP, 7000, 0.001),)
    monitor.observe(sample(probes=ours))
    monitor.observe(sample(flow(7000)))
    [reading] = monitor.observe(sample(flow(7000))).ports
    assert reading.connections == {}  # as long as it is tracked, it is ours
    monitor.observe(sample())
    [reading] = monitor.observe(sample(flow(7000, id=99))).ports
    assert reading.connections == {ONE: 1}  # a client took the same port


def test_what_was_not_translated_is_nobodys_load() -> None:
    [reading] = Monitor().observe(sample(flow(1, endpoint=VIP), flow(2, front=Spot("10.96.0.8", 80)))).ports
    assert reading.connections == {}


def test_a_service_that_is_gone_is_forgotten() -> None:
    monitor = Monitor()
    monitor.observe(sample(flow(1)))
    assert monitor.observe(Sample(AT)).ports == ()
    [reading] = monitor.observe(sample(flow(2))).ports
    assert reading.connections == {ONE: 1}


def readings() -> Readings:
    monitor = Monitor()
    monitor.observe(sample(flow(1), probes=(Probe("node-1", VIP, 5, 0.002), Probe("node-2", VIP, 6, 0.004))))
    probes = (Probe("node-1", VIP, 7, 0.002), Probe("node-2", VIP, 8, None, "timed out"))
    lookups = (Lookup("node-1", 0.003), Lookup("node-2", None, "NXDOMAIN"))
    return monitor.observe(sample(flow(2), flow(3), flow(4, endpoint=TWO), probes=probes, lookups=lookups))


def test_a_screen() -> None:
    text = view("test", readings())
    assert "default/web:80/TCP  node-2: timed out  75%     2.0 ms   1/2" in text
    assert "web-1 75%, 10.244.2.2:8080 25%" in text
    assert "node-2    NXDOMAIN  -       -       0%" in text


def test_lines() -> None:
    first, *rest = lines(readings())
    assert first == (
        "2026-01-01T00:00:00Z service=default/web:80/TCP available=node-2:timed-out so-far=75% connect=2.0ms "
        "endpoints=1/2 load=web-1:75%,10.244.2.2:8080:25%"
    )
    assert len(rest) == 2


def test_a_tree_is_json() -> None:
    told = json.loads(json.dumps(tree(readings())))
    [web] = told["services"]
    assert web["available"] is False
    assert web["failures"] == {"node-2": "timed out"}
    assert web["load"]["web-1"] == {"connections": 3, "share": 0.75}
    assert [each["node"] for each in told["dns"]] == ["node-1", "node-2"]


def test_metrics_of_the_latest_look() -> None:
    numbers = Numbers()
    assert not numbers.is_ready
    numbers.take(readings())
    text = numbers.registry.render()
    labels = 'namespace="default",service="web",port="80/TCP"'
    assert f"clusterip_service_available{{{labels}}} 0.5" in text
    assert f'clusterip_service_probes_total{{{labels},result="failed"}} 1' in text
    assert f'clusterip_service_endpoints{{{labels},state="ready"}} 1' in text
    assert f'clusterip_service_connections_total{{{labels},endpoint="web-1"}} 3' in text
    assert 'clusterip_dns_lookup_seconds_count{node="node-1"} 1' in text
    assert 'clusterip_dns_lookups_total{node="node-2",result="failed"} 1' in text
    numbers.take(Monitor().observe(Sample(AT)))
    assert 'service="web"' not in numbers.registry.render()
