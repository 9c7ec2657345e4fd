"""A packet's way, hop by hop, by the proxy's plan and the policies."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from clusterip.api.meta import ObjectKey, Tree
from clusterip.explain.picture import Evidence, Picture
from clusterip.explain.route import Route, client_of, walk
from clusterip.explain.route_report import render_route, tree_of_route
from clusterip.explain.sockets import Socket
from clusterip.failure import Failure
from explain.objects import meta, node, picture, pod, service, slice_of

KEY = ObjectKey("shop", "web")
CLIENT = pod("client", ip="10.244.1.9", labels={"role": "frontend"})


def seen(web: Tree, *pods: Tree, **lists: Any) -> Picture:
    others = (node("node-2", "192.168.4.102"),)
    slices = (slice_of(web, list(pods)),) if pods else ()
    return picture(web, pods=(CLIENT, *pods), endpointslices=slices, nodes=others, **lists)


def go(found: Picture, sender: str = "pod/client", through: str = "", port: int = 0) -> Route:
    return walk(found, KEY, client_of(found, sender, "shop", through), port)


def failed(route: Route) -> list[str]:
    return [f"{step.hop}: {step.text}" for step in route.steps if step.mark.name == "FAILS"]


def test_it_arrives() -> None:
    route = go(seen(service(), pod(), pod("web-2", ip="10.244.2.6", node="node-2")))
    assert route.arrives
    assert [step.hop for step in route.steps] == ["name", "frontend", "proxy on node-1", "endpoint", "endpoint"]
    assert "goes to one of 2: 10.244.1.5:8080, 10.244.2.6:8080; the endpoint sees the sender" in route.steps[2].text
    assert render_route(route).endswith("\narrives")
    assert tree_of_route(route)["arrives"] is True


def test_a_node_is_seen_by_its_address() -> None:
    route = go(seen(service(), pod()), "node/node-2")
    assert "the endpoint sees the node's address" in route.steps[2].text


def test_no_endpoint_is_a_refusal() -> None:
    assert failed(go(seen(service()))) == ["proxy on node-1: is refused: there is no endpoint"]


def test_policy_local_without_an_endpoint_here() -> None:
    web = service(internalTrafficPolicy="Local")
    found = seen(web, pod("web-2", ip="10.244.2.6", node="node-2"))
    (one,) = failed(go(found))
    assert "is dropped: there are endpoints, but none on this node" in one


@pytest.mark.parametrize(
    ("address", "owner"), [("192.168.4.10", "no pod of this cluster"), ("192.168.4.101", "node node-1")]
)
def test_an_endpoint_that_is_no_pod(address: str, owner: str) -> None:
    web = service()
    found = picture(web, pods=(CLIENT,), endpointslices=(slice_of(web, [pod("other", ip=address)]),))
    assert go(found).steps[-1].text == f"{address}:8080 is {owner}"


def test_a_policy_is_named() -> None:
    deny = {
        "kind": "NetworkPolicy",
        "metadata": meta("deny", "shop"),
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}},
    }
    (one,) = failed(go(seen(service(), pod(), networkpolicies=(deny,))))
    assert one == "policy: NetworkPolicy shop/deny lets it not into pod shop/web-1"


def test_an_endpoint_that_does_not_listen() -> None:
    heard = {"shop-web-1": (Socket("tcp", ip_address("0.0.0.0"), 80),)}
    (one,) = failed(go(seen(service(), pod(), evidence=Evidence(pods=heard))))
    assert "nobody listens on 8080/tcp" in one


def test_affinity_is_told() -> None:
    route = go(seen(service(sessionAffinity="ClientIP"), pod()))
    assert "session affinity by client address for 10800 s" in route.steps[2].evidence[0]


def test_from_outside() -> None:
    assert "cannot reach a cluster IP" in failed(go(seen(service(), pod()), "lan"))[0]
    port = [{"port": 80, "targetPort": 8080, "nodePort": 30080, "protocol": "TCP"}]
    route = go(seen(service(type="NodePort", ports=port), pod()), "lan", "node-2")
    assert route.arrives
    assert "sends to 192.168.4.102:30080/tcp" in route.steps[1].text
    web = service(type="LoadBalancer", ports=port, loadBalancerSourceRanges=["203.0.113.0/24"])
    web["status"] = {"loadBalancer": {"ingress": [{"ip": "192.168.4.10"}]}}
    assert "outside loadBalancerSourceRanges" in failed(go(seen(web, pod()), "lan"))[0]
    assert go(seen(web, pod()), "203.0.113.7").arrives


def test_names_without_a_proxy() -> None:
    alias = service(type="ExternalName", externalName="example.org", clusterIP=None)
    assert "is an alias of example.org" in go(seen(alias)).steps[0].text
    assert "headless" in go(seen(service(clusterIP="None"), pod())).steps[0].text


def test_a_port_that_is_not_there() -> None:
    assert failed(go(seen(service(), pod()), port=81)) == ["frontend: the Service has no port 81"]


@pytest.mark.parametrize("sender", ["pod/none", "node/none", "moon"])
def test_senders_that_are_not_there(sender: str) -> None:
    with pytest.raises(Failure):
        client_of(seen(service()), sender, "shop", "")


def test_senders() -> None:
    found = seen(service())
    assert client_of(found, "10.244.1.9", "", "").text == "pod shop/client (10.244.1.9)"
    assert client_of(found, "pod/shop/client", "default", "").node == "node-1"
    assert client_of(found, "", "", "node-2").text == "node node-2 (192.168.4.102)"
