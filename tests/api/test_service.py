"""What a Service becomes before it is judged, and what it is told."""

from __future__ import annotations

import pytest

from clusterip.api import service
from clusterip.api.meta import Tree, copied


def made(spec: Tree) -> Tree:
    tree: Tree = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], **spec}}
    service.default(tree)
    service.prepare_create(tree)
    return tree


DEFAULTS: list[tuple[Tree, Tree]] = [
    ({}, {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}),
    ({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster"}),
    ({"externalIPs": ["1.2.3.4"]}, {"externalTrafficPolicy": "Cluster"}),
    ({"type": "LoadBalancer"}, {"allocateLoadBalancerNodePorts": True}),
    ({"sessionAffinity": "ClientIP"}, {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
    ({"clusterIP": "10.96.0.9"}, {"clusterIPs": ["10.96.0.9"]}),
]


@pytest.mark.parametrize(("spec", "expected"), DEFAULTS)
def test_defaults(spec: Tree, expected: Tree) -> None:
    found = made(spec)["spec"]
    assert {key: found.get(key) for key in expected} == expected


def test_an_external_name_has_no_policies() -> None:
    found = made({"type": "ExternalName", "externalName": "a.b"})["spec"]
    assert not {"internalTrafficPolicy", "externalTrafficPolicy", "clusterIPs"} & set(found)


def test_ports_go_where_they_come_from() -> None:
    ports = [{"port": 80}, {"port": 81, "targetPort": "web", "protocol": "UDP"}]
    first, second = made({"ports": ports})["spec"]["ports"]
    assert (first["targetPort"], first["protocol"]) == (80, "TCP")
    assert (second["targetPort"], second["protocol"]) == ("web", "UDP")


def test_no_affinity_has_no_config() -> None:
    found = made({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}})
    assert "sessionAffinityConfig" not in found["spec"]


def test_a_status_is_not_created() -> None:
    tree: Tree = {"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}
    service.default(tree)
    assert tree["status"]["loadBalancer"]["ingress"][0]["ipMode"] == "VIP"
    service.prepare_create(tree)
    assert tree["status"] == {"loadBalancer": {}}


def test_a_load_balancer_that_is_none_any_more_loses_its_address() -> None:
    old = made({"type": "LoadBalancer", "loadBalancerClass": "a/b"})
    old["status"] = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}, "conditions": []}
    new = copied(old)
    new["spec"]["type"] = "ClusterIP"
    service.default(new)
    service.prepare_update(new, old)
    service.drop_what_the_type_has_not(new, old)
    assert new["status"] == {"loadBalancer": {}, "conditions": []}
    assert not {"loadBalancerClass", "allocateLoadBalancerNodePorts", "externalTrafficPolicy"} & set(new["spec"])


def test_what_the_writer_also_changed_is_not_dropped() -> None:
    old = made({"type": "LoadBalancer", "loadBalancerClass": "a/b"})
    new = copied(old)
    new["spec"].update(type="ClusterIP", loadBalancerClass="a/c")
    service.prepare_update(new, old)
    service.drop_what_the_type_has_not(new, old)
    assert new["spec"]["loadBalancerClass"] == "a/c"


WARNINGS: list[tuple[Tree, list[str]]] = [
    ({}, []),
    (
        {"externalIPs": ["203.0.113.9"]},
        ["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
    ),
    (
        {
            "clusterIP": "None",
            "externalIPs": ["203.0.113.9"],
            "sessionAffinity": "ClientIP",
            "loadBalancerIP": "1.2.3.4",
        },
        [
            "spec.loadBalancerIP is ignored for headless services",
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
        ],
    ),
    ({"externalName": "a.b"}, ['spec.externalName is ignored when spec.type is not "ExternalName"']),
    (
        {"type": "ExternalName", "externalName": "a", "externalIPs": ["1.2.3.4"]},
        ['spec.externalIPs is ignored when spec.type is "ExternalName"'],
    ),
    (
        {"trafficDistribution": "PreferClose"},
        ['spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'],
    ),
    (
        {"clusterIP": "fd00:0::1"},
        ['spec.clusterIPs[0]: IPv6 address "fd00:0::1" should be in RFC 5952 canonical format ("fd00::1")'],
    ),
]


@pytest.mark.parametrize(("spec", "expected"), WARNINGS)
def test_warnings(spec: Tree, expected: list[str]) -> None:
    assert service.warnings(made(spec), None) == expected
