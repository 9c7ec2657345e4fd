"""Services beyond the recorded judgements: what is refused, where, and in what words."""

from __future__ import annotations

import random
from typing import Any

import pytest

from clusterip.api import service, service_validation
from clusterip.api.allocation import Ranges, Taken, plan_allocation
from clusterip.api.meta import Tree, copied

PORTS = [{"port": 80}]


def made(spec: Tree, **meta: Any) -> Tree:
    tree: Tree = {"metadata": {"name": "web", **meta}, "spec": {"ports": copied(PORTS), **spec}}
    service.default(tree)
    service.prepare_create(tree)
    return tree


def texts(spec: Tree, **meta: Any) -> list[str]:
    return sorted(map(str, service_validation.validate(made(spec, **meta))))


BALANCER = {"type": "LoadBalancer"}
LOCAL = {**BALANCER, "externalTrafficPolicy": "Local"}
AFFINITY = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"

REFUSED: list[tuple[Tree, list[str]]] = [
    ({"ports": []}, ["spec.ports: Required value"]),
    ({"ports": [{"port": -1}]}, ["spec.ports[0].port", "spec.ports[0].targetPort"]),
    ({"ports": [{"port": 80, "targetPort": "80"}]}, ["must contain at least one letter (a-z)"]),
    ({"ports": [{"port": 80, "targetPort": "a--b"}]}, ["must not contain consecutive hyphens"]),
    (
        {
            "type": "NodePort",
            "ports": [{"name": "a", "port": 1, "nodePort": 30001}, {"name": "b", "port": 2, "nodePort": 30001}],
        },
        ["spec.ports[1].nodePort: Duplicate value: 30001"],
    ),
    (
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
        [f"{AFFINITY}: Invalid value: 86401: must be greater than 0 and less than 86400"],
    ),
    (
        {"clusterIPs": ["10.96.0.9"]},
        ['spec.clusterIPs: Invalid value: ["10.96.0.9"]: must be empty when `clusterIP` is not specified'],
    ),
    (
        {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.8"]},
        ['spec.clusterIPs: Invalid value: ["10.96.0.8"]: first value must match `clusterIP`'],
    ),
    (
        {"clusterIP": "None", "clusterIPs": ["None", "10.96.0.9"]},
        [
            'spec.clusterIPs: Invalid value: ["None","10.96.0.9"]: \'None\' must be the first and only value',
        ],
    ),
    (
        {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "10.96.0.8"]},
        ["may specify no more than one IP for each IP family"],
    ),
    (
        {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::1", "fd00::2"]},
        ["may only hold up to 2 values"],
    ),
    (
        {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv6"]},
        ['spec.clusterIPs[0]: Invalid value: "10.96.0.9": expected an IPv6 value as indicated by `ipFamilies[0]`'],
    ),
    ({"ipFamilies": ["IPv4", "IPv4"]}, ['spec.ipFamilies[1]: Duplicate value: "IPv4"']),
    ({"ipFamilies": ["IPv5"]}, ['spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"']),
    (
        {"ipFamilyPolicy": "Any"},
        [
            'spec.ipFamilyPolicy: Unsupported value: "Any": '
            'supported values: "PreferDualStack", "RequireDualStack", "SingleStack"'
        ],
    ),
    (
        {"type": "ExternalName", "externalName": "a.b", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"},
        [
            "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
            "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
        ],
    ),
    ({**BALANCER, "clusterIP": "None"}, ["may not be set to 'None' for LoadBalancer services"]),
    ({"externalIPs": ["127.0.0.1"]}, ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]),
    ({"externalIPs": ["0.0.0.0"]}, ["may not be unspecified (0.0.0.0)"]),
    ({"externalIPs": ["010.0.0.1"]}, ["must not have leading 0s"]),
    (
        {**BALANCER, "loadBalancerSourceRanges": ["10.0.0.1/8"]},
        ["spec.LoadBalancerSourceRanges[0]", "must not have bits set beyond the prefix length"],
    ),
    (
        {"allocateLoadBalancerNodePorts": True},
        ["spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    ),
    (
        {"healthCheckNodePort": 30000},
        [
            "spec.healthCheckNodePort: Invalid value: 30000: "
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        ],
    ),
    (LOCAL, ["spec.healthCheckNodePort: Required value"]),
    (
        {"internalTrafficPolicy": "", "trafficDistribution": ""},
        [
            'spec.internalTrafficPolicy: Unsupported value: "": supported values: "Cluster", "Local"',
            'spec.trafficDistribution: Unsupported value: "": supported values: "PreferClose"',
        ],
    ),
    (
        {"type": "NodePort", "externalTrafficPolicy": "Near"},
        ['spec.externalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"'],
    ),
]


@pytest.mark.parametrize(("spec", "expected"), REFUSED, ids=[wanted[0][:70] for _, wanted in REFUSED])
def test_refuses(spec: Tree, expected: list[str]) -> None:
    found = texts(spec)
    for text in expected:
        assert any(text in error for error in found), found


TAKEN: list[Tree] = [
    {"ports": [{"name": "a", "port": 53, "protocol": "TCP"}, {"name": "b", "port": 53, "protocol": "UDP"}]},
    {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}},
    {"clusterIP": "None", "ports": []},
    {"type": "ExternalName", "externalName": "a.b."},
    {**BALANCER, "loadBalancerSourceRanges": [" 10.0.0.0/8 "], "loadBalancerClass": "a.b/c"},
    {**LOCAL, "healthCheckNodePort": 30000},
    {"externalIPs": ["203.0.113.9"], "externalTrafficPolicy": "Local"},
    {"trafficDistribution": "PreferSameNode"},
]


@pytest.mark.parametrize("spec", TAKEN)
def test_accepts(spec: Tree) -> None:
    assert texts(spec) == []


def test_source_ranges_of_the_annotation() -> None:
    annotations = {service_validation.SOURCE_RANGES: "10.0.0.0/8, x"}
    path = f"metadata.annotations[{service_validation.SOURCE_RANGES}]"
    (only,) = texts(BALANCER, annotations=annotations)
    assert only.startswith(f'{path}: Invalid value: "x": must be a valid CIDR value')
    found = texts({}, annotations={service_validation.SOURCE_RANGES: ""})
    assert found == [f"{path}: Forbidden: may only be used when `type` is 'LoadBalancer'"]


def test_topology_said_twice_must_agree() -> None:
    annotations = {service.TOPOLOGY_MODE: "Auto", service.TOPOLOGY_HINTS: "Disabled"}
    (only,) = texts({}, annotations=annotations)
    assert only.endswith(f"must match annotations[{service.TOPOLOGY_HINTS}] when both are specified")


# --- updates ---------------------------------------------------------------------------------------------------------


def updated(old_spec: Tree, new_spec: Tree) -> list[str]:
    old = made(old_spec)
    plan_allocation(old, None, Taken(), Ranges(), random.Random(1))
    new = copied(old)
    new["spec"] = {key: value for key, value in {**new["spec"], **new_spec}.items() if value is not None}
    service.default(new)
    service.prepare_update(new, old)
    plan_allocation(new, old, Taken(), Ranges(), random.Random(2))
    return sorted(map(str, service_validation.validate_update(new, old)))


UPDATES: list[tuple[Tree, Tree, list[str]]] = [
    ({}, {"selector": {"a": "b"}}, []),
    (
        {"clusterIP": "10.96.0.9"},
        {"clusterIP": "10.96.0.8"},
        ['spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set'],
    ),
    ({"clusterIP": "10.96.0.9"}, {"clusterIP": None}, []),
    (
        {"clusterIP": "10.96.0.9"},
        {"clusterIP": "None"},
        ['spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set'],
    ),
    (
        {"clusterIP": "None", "selector": {"a": "b"}},
        {"clusterIP": "10.96.0.9"},
        ['spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set'],
    ),
    (
        {**BALANCER, "loadBalancerClass": "a/b"},
        {"loadBalancerClass": "a/c"},
        ['spec.loadBalancerClass: Invalid value: "a/c": may not change once set'],
    ),
    ({**BALANCER, "loadBalancerClass": "a/b"}, {"type": "ClusterIP"}, []),
    (
        {"type": "ExternalName", "externalName": "a.b", "ports": []},
        {"type": "ClusterIP"},
        ["spec.ports: Required value"],
    ),
    ({"type": "NodePort"}, {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30001}]}, [
        "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"
    ]),
    ({"externalIPs": ["203.0.113.9"]}, {"externalIPs": None}, []),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), UPDATES)
def test_updates(old: Tree, new: Tree, expected: list[str]) -> None:
    assert updated(old, new) == expected


def test_an_old_sloppy_address_may_stay() -> None:
    old = made({"externalIPs": ["203.000.113.009"]})
    assert not [e for e in service_validation.validate_update(copied(old), old) if "externalIPs" in e.field]


# --- status ----------------------------------------------------------------------------------------------------------

STATUSES: list[tuple[Tree, list[str]]] = [
    ({"ip": "192.168.4.10", "ipMode": "VIP"}, []),
    ({"hostname": "x.example.com"}, []),
    ({"ip": "192.168.4.10"}, [".ipMode: Required value: must be specified when `ip` is set"]),
    ({"hostname": "a", "ipMode": "VIP"}, [".ipMode: Forbidden: may not be specified when `ip` is not set"]),
    ({"ip": "192.168.4.10", "ipMode": "x"}, ['.ipMode: Unsupported value: "x": supported values: "Proxy", "VIP"']),
    ({"hostname": "10.0.0.1"}, ['.hostname: Invalid value: "10.0.0.1": must be a DNS name, not an IP address']),
]


@pytest.mark.parametrize(("ingress", "expected"), STATUSES)
def test_status(ingress: Tree, expected: list[str]) -> None:
    old = made(BALANCER)
    new = {**old, "status": {"loadBalancer": {"ingress": [ingress]}}}
    found = list(map(str, service_validation.validate_status(new, old)))
    assert found == [f"status.loadBalancer.ingress[0]{text}" for text in expected]


def test_only_load_balancers_have_addresses() -> None:
    old = made({})
    new = {**old, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}}}
    (error,) = service_validation.validate_status(new, old)
    assert error.message() == "Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
