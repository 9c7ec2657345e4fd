"""What a Service gets: addresses and ports by band and by hand, families, and what it gives back."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

import pytest

from clusterip.api import service
from clusterip.api.allocation import (
    Allocation,
    Ranges,
    Taken,
    choose_address,
    choose_port,
    held,
    plan_allocation,
    static_band,
)
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, copied

SMALL = Ranges((IPv4Network("10.96.0.0/24"),), range(30000, 30100))
DUAL = Ranges((IPv4Network("10.96.0.0/24"), IPv6Network("fd00::/112")), range(30000, 30100))


def made(spec: Tree, name: str = "web") -> Tree:
    tree: Tree = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}
    service.default(tree)
    service.prepare_create(tree)
    return tree


def created(
    spec: Tree, taken: Taken | None = None, ranges: Ranges = SMALL, name: str = "web"
) -> tuple[Tree, Allocation]:
    tree = made(spec, name)
    return tree, plan_allocation(tree, None, taken or Taken(), ranges, random.Random(1))


def changed(old: Tree, spec: Tree, taken: Taken | None = None, ranges: Ranges = SMALL) -> tuple[Tree, Allocation]:
    tree = copied(old)
    tree["spec"] = {key: value for key, value in {**tree["spec"], **spec}.items() if value is not None}
    service.default(tree)
    service.prepare_update(tree, old)
    return tree, plan_allocation(tree, old, taken or Taken(), ranges, random.Random(2))


def refusal(spec: Tree, **more: Any) -> str:
    with pytest.raises(ApiError) as caught:
        created(spec, **more)
    return caught.value.message


# --- bands -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "band"), [(2**20, 256), (256, 16), (16, 0), (32, 16), (1024, 64), (4096, 256), (65536, 256)]
)
def test_static_band_of_addresses(size: int, band: int) -> None:
    assert static_band(size, smallest=16, divisor=16, largest=256) == band


def test_static_band_of_ports() -> None:
    assert static_band(2768, smallest=16, divisor=32, largest=128) == 86


def test_addresses_come_from_above_the_band_until_that_is_full() -> None:
    network, rng = IPv4Network("10.96.0.0/27"), random.Random(3)
    taken: set[Any] = set()
    order = []
    while (address := choose_address(network, taken, rng)) is not None:
        taken.add(address)
        order.append(int(address) & 31)
    assert sorted(order) == list(range(1, 31))
    assert min(order[:14]) == 17
    assert max(order[14:]) == 16


def test_ports_come_from_above_the_band_until_that_is_full() -> None:
    taken: set[int] = set()
    for _ in range(84):
        port = choose_port(range(30000, 30100), taken, random.Random(4))
        assert port is not None
        assert port >= 30016
        taken.add(port)
    assert choose_port(range(30000, 30100), taken, random.Random(4)) in range(30000, 30016)
    assert choose_port(range(30000, 30100), range(30000, 30100), random.Random(4)) is None


# --- creation --------------------------------------------------------------------------------------------------------


def test_an_address_is_chosen_and_said_twice() -> None:
    tree, allocation = created({})
    ip = tree["spec"]["clusterIP"]
    assert tree["spec"]["clusterIPs"] == [ip]
    assert allocation.take_addresses == {ip_address(ip)}
    assert (tree["spec"]["ipFamilies"], tree["spec"]["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


def test_an_address_by_hand() -> None:
    tree, allocation = created({"clusterIP": "10.96.0.10"})
    assert tree["spec"]["clusterIPs"] == ["10.96.0.10"]
    assert allocation.take_addresses == {IPv4Address("10.96.0.10")}


@pytest.mark.parametrize(
    ("ip", "reason"),
    [
        ("10.96.0.9", "provided IP is already allocated"),
        ("10.97.0.1", "the provided network does not match the current range"),
        ("10.96.0.0", "the provided network does not match the current range"),
        ("10.96.0.255", "the provided network does not match the current range"),
    ],
)
def test_an_address_that_cannot_be_had(ip: str, reason: str) -> None:
    text = refusal({"clusterIP": ip}, taken=Taken({IPv4Address("10.96.0.9")}))
    why = f'spec.clusterIPs: Invalid value: ["{ip}"]: failed to allocate IP {ip}: {reason}'
    assert text == f'Service "web" is invalid: {why}'


def test_a_full_range_is_said() -> None:
    full = Taken({IPv4Address(f"10.96.0.{n}") for n in range(256)})
    assert refusal({}, taken=full).endswith('failed to allocate a serviceIP for Service "web": range is full')


def test_a_headless_service_gets_nothing() -> None:
    tree, allocation = created({"clusterIP": "None", "selector": {"a": "b"}})
    assert tree["spec"]["clusterIPs"] == ["None"]
    assert allocation == Allocation()


def test_an_external_name_gets_nothing() -> None:
    tree, allocation = created({"type": "ExternalName", "externalName": "a.b"})
    assert "clusterIP" not in tree["spec"]
    assert allocation == Allocation()


def test_node_ports_chosen_and_by_hand() -> None:
    ports = [{"name": "a", "port": 80, "nodePort": 30007}, {"name": "b", "port": 81}]
    tree, allocation = created({"type": "NodePort", "ports": ports})
    by_hand, chosen = (port["nodePort"] for port in tree["spec"]["ports"])
    assert by_hand == 30007
    assert chosen >= 30016
    assert allocation.take_ports == {by_hand, chosen}


def test_protocols_of_one_port_share_a_node_port() -> None:
    ports = [
        {"name": "t", "port": 53, "protocol": "TCP"},
        {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30009},
    ]
    tree, allocation = created({"type": "NodePort", "ports": ports})
    assert [port["nodePort"] for port in tree["spec"]["ports"]] == [30009, 30009]
    assert allocation.take_ports == {30009}


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        (30008, "provided port is already allocated"),
        (80, "provided port is not in the valid range. The range of valid ports is 30000-30099"),
    ],
)
def test_a_node_port_that_cannot_be_had(port: int, reason: str) -> None:
    ports = [{"port": 80, "nodePort": port}]
    text = refusal({"type": "NodePort", "ports": ports}, taken=Taken(ports={30008}))
    assert text == f'Service "web" is invalid: spec.ports[0].nodePort: Invalid value: {port}: {reason}'


def test_two_ports_cannot_have_one_node_port() -> None:
    ports = [{"name": "a", "port": 80, "nodePort": 30007}, {"name": "b", "port": 81, "nodePort": 30007}]
    text = refusal({"type": "NodePort", "ports": ports})
    assert "spec.ports[1].nodePort: Invalid value: 30007: provided port is already allocated" in text


def test_no_node_ports_when_told_so() -> None:
    spec = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}
    assert created(spec)[1].take_ports == set()
    assert created({**spec, "ports": [{"port": 80, "nodePort": 30001}]})[1].take_ports == {30001}


def test_a_health_check_port() -> None:
    local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    tree, allocation = created(local)
    assert tree["spec"]["healthCheckNodePort"] in allocation.take_ports
    assert len(allocation.take_ports) == 2
    assert created({**local, "healthCheckNodePort": 30003})[0]["spec"]["healthCheckNodePort"] == 30003
    text = refusal({**local, "healthCheckNodePort": 30008}, taken=Taken(ports={30008}))
    assert "failed to allocate requested HealthCheck NodePort 30008: provided port is already allocated" in text


# --- families --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "policy", "families"),
    [
        ({"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, "RequireDualStack", ["IPv6", "IPv4"]),
        ({"clusterIP": "fd00::5"}, "SingleStack", ["IPv6"]),
        ({"ipFamilies": ["IPv6"]}, "SingleStack", ["IPv6"]),
    ],
)
def test_families_on_a_dual_stack_cluster(spec: Tree, policy: str, families: list[str]) -> None:
    tree, allocation = created(spec, ranges=DUAL)
    assert (tree["spec"]["ipFamilyPolicy"], tree["spec"]["ipFamilies"]) == (policy, families)
    assert [f"IPv{ip_address(ip).version}" for ip in tree["spec"]["clusterIPs"]] == families
    assert len(allocation.take_addresses) == len(families)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services',
        ),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        (
            {"clusterIP": "fd00::1"},
            'spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster',
        ),
        (
            {"ipFamilies": ["IPv4", "IPv6"]},
            'spec.ipFamilyPolicy: Invalid value: "SingleStack": '
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
        ({"clusterIP": "ten"}, 'spec.clusterIPs[0]: Invalid value: "ten": must be a valid IP address'),
    ],
)
def test_families_that_cannot_be_had(spec: Tree, reason: str) -> None:
    assert reason in refusal(spec)


def test_headless_without_a_selector_is_of_both_families() -> None:
    tree, _ = created({"clusterIP": "None"})
    assert tree["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
    assert tree["spec"]["ipFamilyPolicy"] == "RequireDualStack"


# --- updates ---------------------------------------------------------------------------------------------------------


def test_to_node_port_and_back() -> None:
    old, first = created({})
    node, allocation = changed(old, {"type": "NodePort"})
    port = node["spec"]["ports"][0]["nodePort"]
    assert allocation.take_ports == {port}
    assert node["spec"]["clusterIP"] == old["spec"]["clusterIP"]
    back, allocation = changed(node, {"type": "ClusterIP"})
    assert allocation.release_ports == {port}
    assert "nodePort" not in back["spec"]["ports"][0]
    assert held(back) == (first.take_addresses, set())


def test_an_update_cannot_ask_for_one_node_port_twice() -> None:
    old, _ = created({"type": "NodePort"})
    ports = [{"name": name, "port": port, "nodePort": 30001} for name, port in (("a", 80), ("b", 81))]
    with pytest.raises(ApiError) as caught:
        changed(old, {"ports": ports})
    assert (caught.value.code, caught.value.message) == (500, "duplicate nodePort: {TCP 30001}")
    ports[1]["protocol"] = "UDP"
    changed(old, {"ports": ports})


def test_a_family_is_given_up_by_the_policy_alone() -> None:
    old, _ = created({"clusterIP": "None"})
    for families in (["IPv4"], ["IPv6"]):
        with pytest.raises(ApiError, match="must be 'SingleStack' to release the secondary IP family"):
            changed(old, {"ipFamilies": families})
    tree, _ = changed(old, {"ipFamilyPolicy": "SingleStack"})
    assert tree["spec"]["ipFamilies"] == ["IPv4"]


def test_node_ports_stay_with_their_names() -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    old, _ = created({"type": "NodePort", "ports": ports})
    a, b = (port["nodePort"] for port in old["spec"]["ports"])
    new, allocation = changed(old, {"ports": [{"name": "b", "port": 82}, {"name": "c", "port": 80}]})
    assert new["spec"]["ports"][0]["nodePort"] == b
    assert allocation.release_ports == {a}
    assert len(allocation.take_ports) == 1


def test_to_external_name_and_back() -> None:
    old, first = created({"type": "NodePort"})
    gone, allocation = changed(old, {"type": "ExternalName", "externalName": "a.b"})
    assert allocation.release_addresses == first.take_addresses
    assert allocation.release_ports == first.take_ports
    assert "clusterIP" not in gone["spec"]
    back, allocation = changed(gone, {"type": "ClusterIP", "externalName": None})
    assert allocation.take_addresses == {ip_address(back["spec"]["clusterIP"])}


def test_a_health_check_port_comes_and_goes_with_its_policy() -> None:
    old, _ = created({"type": "LoadBalancer"})
    local, allocation = changed(old, {"externalTrafficPolicy": "Local"})
    port = local["spec"]["healthCheckNodePort"]
    assert allocation.take_ports == {port}
    cluster, allocation = changed(local, {"externalTrafficPolicy": "Cluster"})
    assert allocation.release_ports == {port}
    assert "healthCheckNodePort" not in cluster["spec"]


def test_a_second_family_comes_and_goes() -> None:
    old, _ = created({}, ranges=DUAL)
    both, allocation = changed(old, {"ipFamilyPolicy": "PreferDualStack"}, ranges=DUAL)
    assert both["spec"]["clusterIPs"][0] == old["spec"]["clusterIP"]
    assert len(allocation.take_addresses) == 1
    assert not allocation.release_addresses
    one, allocation = changed(both, {"ipFamilyPolicy": "SingleStack"}, ranges=DUAL)
    assert one["spec"]["clusterIPs"] == old["spec"]["clusterIPs"]
    assert allocation.release_addresses == {ip_address(both["spec"]["clusterIPs"][1])}


def test_an_update_that_changes_nothing_changes_no_hands() -> None:
    old, _ = created({"type": "LoadBalancer", "externalTrafficPolicy": "Local"})
    assert changed(old, {})[1] == Allocation()


def test_what_is_held_is_what_was_taken() -> None:
    tree, allocation = created({"type": "LoadBalancer", "externalTrafficPolicy": "Local"})
    assert held(tree) == (allocation.take_addresses, allocation.take_ports)
