"""LoadBalancer Services that wait for an address, and why."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.meta import Tree
from clusterip.explain import balancers
from clusterip.explain.finding import Finding
from explain.objects import event, meta, picture, service

LABELS = {"app": "metallb", "component": "controller"}
CONTROLLER = {
    "kind": "Deployment",
    "metadata": meta("controller", "metallb-system", LABELS),
    "spec": {"selector": {"matchLabels": LABELS}},
    "status": {"availableReplicas": 1},
}
ADVERTISED = {"metadata": meta("all", "metallb-system"), "spec": {}}


def pool(addresses: str = "192.168.4.10-192.168.4.11") -> Tree:
    return {"metadata": meta("pool", "metallb-system"), "spec": {"addresses": [addresses]}}


def balancer(name: str = "web", address: str = "", **spec: Any) -> Tree:
    found = service(name, type="LoadBalancer", clusterIPs=["10.96.0.20"], **spec)
    if address:
        found["status"] = {"loadBalancer": {"ingress": [{"ip": address}]}}
        found["metadata"]["annotations"] = {"metallb.io/ip-allocated-from-pool": "pool"}
    return found


def found(*services: Tree, **lists: Any) -> list[Finding]:
    return list(balancers.check(picture(*services, **lists)))


def with_metallb(*services: Tree, **lists: Any) -> list[Finding]:
    given = {"ipaddresspools": (pool(),), "l2advertisements": (ADVERTISED,)} | lists
    return found(*services, deployments=(CONTROLLER,), **given)


def test_an_address_that_is_announced() -> None:
    assert with_metallb(balancer(address="192.168.4.10")) == []
    assert found(service()) == []


def test_nobody_gives_addresses() -> None:
    (one,) = found(balancer())
    assert one.kind == "load-balancer-nobody"
    assert "no MetalLB" in one.what
    assert "metallb-native.yaml" in one.fixes[0]


def test_a_cloud_that_says_why() -> None:
    web = balancer()
    (one,) = found(web, events=(event(web, "SyncLoadBalancerFailed", "quota exceeded"),))
    assert "event SyncLoadBalancerFailed: quota exceeded" in one.evidence


@pytest.mark.parametrize(
    ("services", "lists", "kind", "said"),
    [
        ([balancer()], {"ipaddresspools": ()}, "load-balancer-no-pool", "no IPAddressPool"),
        ([balancer()], {"ipaddresspools": (pool("nonsense"),)}, "load-balancer-pending", "not valid"),
        ([balancer()], {}, "load-balancer-pending", "has room"),
        ([balancer(loadBalancerClass="other/x")], {}, "load-balancer-pending", "class other/x"),
        (
            [balancer(loadBalancerIP="192.168.9.9")],
            {},
            "load-balancer-address-outside",
            "192.168.9.9",
        ),
        (
            [balancer(), balancer("a", "192.168.4.10"), balancer("b", "192.168.4.11")],
            {},
            "load-balancer-pool-full",
            "no pool has a free address",
        ),
    ],
)
def test_why_an_address_is_pending(services: list[Tree], lists: dict[str, Any], kind: str, said: str) -> None:
    (one,) = with_metallb(*services, **lists)
    assert one.kind == kind
    assert said in one.what
    assert one.place == ("shop", "web")


def test_a_controller_that_does_not_run() -> None:
    (one,) = found(balancer(), deployments=(CONTROLLER | {"status": {}},))
    assert one.kind == "load-balancer-controller-down"
    assert "app=metallb,component=controller" in one.fixes[0]


def test_an_address_that_nobody_announces() -> None:
    (one,) = with_metallb(balancer(address="192.168.4.10"), l2advertisements=())
    assert one.kind == "load-balancer-unannounced"
