"""Folding objects into service ports: names, slices, conflicts, and objects that are odd."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.meta import ObjectKey
from clusterip.proxy.model import Family, FrontendKind, ServicePort
from clusterip.proxy.objects import NodeObject, Service, decoder
from clusterip.proxy.snapshot import Collector, addresses_of, affinity_seconds, source_ranges
from proxy.clusters import Cluster, node


def ports(cluster: Cluster, name: str = "web") -> dict[str, ServicePort]:
    view = cluster.collector.snapshot().services[ObjectKey("default", name)]
    return {f"{port.name.port}/{port.name.protocol}": port for port in view.ports}


def targets(port: ServicePort) -> list[str]:
    return sorted(str(endpoint.target) for endpoint in port.endpoints)


def test_ports_are_matched_by_name_and_protocol() -> None:
    cluster = Cluster()
    cluster.service("web", "10.96.0.20", "a 80/tcp", "b 80/udp")
    cluster.endpoints("web", "a 8080/tcp", "10.244.1.5")
    cluster.endpoints("web", "b 8080/tcp", "10.244.1.6")
    assert {name: targets(port) for name, port in ports(cluster).items()} == {"a/tcp": ["10.244.1.5:8080"], "b/udp": []}


def test_slices_are_merged_and_the_better_of_two_counts() -> None:
    cluster = Cluster()
    cluster.service("web", "10.96.0.20", "a 80/tcp")
    cluster.endpoints("web", "a 8080/tcp", "10.244.1.5 terminating", "10.244.1.6")
    cluster.endpoints("web", "a 8080/tcp", "10.244.1.5", "10.244.1.7", suffix="-2")
    found = ports(cluster)["a/tcp"].endpoints
    assert targets(ports(cluster)["a/tcp"]) == ["10.244.1.5:8080", "10.244.1.6:8080", "10.244.1.7:8080"]
    assert all(endpoint.is_ready for endpoint in found)


def test_a_slice_goes_to_another_service_and_away() -> None:
    cluster = Cluster()
    cluster.service("web", "10.96.0.20", "a 80/tcp")
    cluster.service("api", "10.96.0.21", "a 80/tcp")
    tree = {
        "kind": "EndpointSlice",
        "metadata": {"name": "s", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [{"addresses": ["10.244.1.5"]}],
        "ports": [{"name": "a", "port": 1, "protocol": "TCP"}],
    }
    cluster.apply(tree)
    assert targets(ports(cluster)["a/tcp"]) == ["10.244.1.5:1"]
    collector, key = cluster.collector, ("default", "s")
    from clusterip.proxy.objects import EndpointSlice

    decode = decoder(EndpointSlice)
    moved = {**tree, "metadata": {**tree["metadata"], "labels": {"kubernetes.io/service-name": "api"}}}  # type: ignore[dict-item]
    collector.on_slice(key, decode(tree), decode(moved))
    assert (targets(ports(cluster)["a/tcp"]), targets(ports(cluster, "api")["a/tcp"])) == ([], ["10.244.1.5:1"])
    collector.on_slice(key, decode(moved), None)
    assert targets(ports(cluster, "api")["a/tcp"]) == []


@pytest.mark.parametrize(
    "odd",
    [
        {"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]},
        {"addressType": "FQDN", "endpoints": [{"addresses": ["example.org"]}]},
        {"endpoints": [{"addresses": ["not an address"]}, {"addresses": []}, {"addresses": None}]},
        {"endpoints": None},
        {"ports": None},
        {"ports": [{"name": "a"}, {"name": "a", "port": 0}]},
        {"metadata": {"name": "odd", "namespace": "default"}},
    ],
)
def test_odd_slices_leave_the_others_alone(odd: dict[str, Any]) -> None:
    cluster = Cluster()
    cluster.service("web", "10.96.0.20", "a 80/tcp")
    cluster.endpoints("web", "a 8080/tcp", "10.244.1.5")
    tree = {
        "kind": "EndpointSlice",
        "metadata": {"name": "odd", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.9"]}],
        "ports": [{"name": "a", "port": 8080, "protocol": "TCP"}],
    }
    cluster.apply({**tree, **odd})
    assert targets(ports(cluster)["a/tcp"]) == ["10.244.1.5:8080"]


def test_conditions_that_are_not_there_mean_ready() -> None:
    cluster = Cluster()
    cluster.service("web", "10.96.0.20", "a 80/tcp")
    cluster.apply(
        {
            "kind": "EndpointSlice",
            "metadata": {"name": "s", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["10.244.1.5"]}, {"addresses": ["10.244.1.6"], "conditions": {}}],
            "ports": [{"name": "a", "port": 1}],
        }
    )
    assert [endpoint.is_ready for endpoint in ports(cluster)["a/tcp"].endpoints] == [True, True]


def test_frontends_of_every_kind() -> None:
    cluster = Cluster()
    status = [{"ip": "172.16.0.2"}, {"ip": "172.16.0.3", "ipMode": "Proxy"}, {"hostname": "lb.example.org"}]
    cluster.service("web", "10.96.0.20", "a 80/tcp 30080", externalIPs=["172.16.0.1", "fd00::1"], status=status)
    found = [(kind, str(frontend)) for kind, frontend in ports(cluster)["a/tcp"].frontends]
    assert found == [
        (FrontendKind.CLUSTER_IP, "10.96.0.20:80/tcp"),
        (FrontendKind.EXTERNAL_IP, "172.16.0.1:80/tcp"),
        (FrontendKind.LOAD_BALANCER_IP, "172.16.0.2:80/tcp"),
        (FrontendKind.NODE_PORT, "node:30080/tcp"),
    ]


def test_the_older_service_keeps_a_frontend_that_two_claim(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    cluster.service("first", "10.96.0.20", "a 80/tcp 30080")
    cluster.service("second", "10.96.0.21", "a 80/tcp 30080")
    assert [str(frontend) for _, frontend in ports(cluster, "second")["a/tcp"].frontends] == ["10.96.0.21:80/tcp"]
    assert "Another Service has this frontend already" in caplog.text
    cluster.delete("first")
    assert len(ports(cluster, "second")["a/tcp"].frontends) == 2


def test_views_are_reused_until_something_of_theirs_changes() -> None:
    cluster = Cluster()
    cluster.service("web", "10.96.0.20", "a 80/tcp")
    cluster.service("api", "10.96.0.21", "a 80/tcp")
    before = cluster.collector.snapshot().services
    assert cluster.collector.snapshot().services is before
    cluster.endpoints("api", "a 8080/tcp", "10.244.1.5")
    after = cluster.collector.snapshot().services
    web, api = ObjectKey("default", "web"), ObjectKey("default", "api")
    assert (after[web] is before[web], after[api] is before[api]) == (True, False)


def _service(**spec: Any) -> Service:
    return decoder(Service)({"metadata": {"name": "s", "namespace": "n"}, "spec": {"clusterIP": "10.96.0.1", **spec}})


def test_affinity() -> None:
    assert affinity_seconds(_service()) == 0
    assert affinity_seconds(_service(sessionAffinity="ClientIP")) == 10800
    config = {"clientIP": {"timeoutSeconds": 60}}
    assert affinity_seconds(_service(sessionAffinity="ClientIP", sessionAffinityConfig=config)) == 60


def test_a_service_of_the_wrong_type_is_told_with_its_field() -> None:
    with pytest.raises(ValueError, match=r"\$\.spec\.ports\[0\]\.port"):
        _service(ports=[{"port": "http"}])


def test_node_addresses() -> None:
    addresses = [
        {"type": "Hostname", "address": "node-1"},
        {"type": "ExternalIP", "address": "203.0.113.1"},
        {"type": "InternalIP", "address": "192.168.4.101"},
        {"type": "InternalIP", "address": "fd00::1"},
    ]
    found = decoder(NodeObject)({"metadata": {"name": "node-1"}, "status": {"addresses": addresses}})
    assert [str(address) for address in addresses_of(found)] == ["192.168.4.101", "203.0.113.1"]


def test_the_node_is_news_only_when_it_differs() -> None:
    collector = Collector(node())
    assert not collector.on_node(node())
    assert collector.on_node(node(zone="b"))


def test_a_range_of_everybody_is_as_good_as_none() -> None:
    def ranges(*texts: str) -> list[str]:
        return [str(network) for network in source_ranges(_service(loadBalancerSourceRanges=[*texts]), Family.IPV4)]

    assert ranges(" 10.0.0.0/8", "fd00::/8") == ["10.0.0.0/8"]
    assert ranges("10.0.0.0/8", "0.0.0.0/0") == []
    assert ranges("10.0.0.0/8", "::/0") == ["10.0.0.0/8"]
