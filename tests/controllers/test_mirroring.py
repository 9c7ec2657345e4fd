"""Endpoints made by hand: the recorded answer of the real controller, what is mirrored and what is not."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from clusterip.controllers.mirroring import SUBSET_LIMIT, concerns, reconcile
from clusterip.controllers.model import Endpoints, EndpointSlice, Service
from clusterip.controllers.writes import Create, Delete, Patch, Say
from controllers.cluster import ENDPOINT_SLICES, ENDPOINTS, SERVICES, cluster
from controllers.test_endpointslice import CASES, read


def by_hand(*subsets, annotations=None, **labels):
    meta = {"name": "web", "namespace": "ns", "uid": "e", "labels": labels, "annotations": annotations or {}}
    return read({"metadata": meta, "subsets": list(subsets)}, Endpoints)


def subset(*ips, port=80, waiting=()):
    found = {"addresses": [{"ip": ip} for ip in ips], "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}
    return found | {"notReadyAddresses": [{"ip": ip} for ip in waiting]}


def slice_of(write, name="web-1"):
    """What the API would make of a create."""
    tree = json.loads(json.dumps(write.tree))
    tree["metadata"]["name"] = name
    return msgspec.convert(tree, EndpointSlice)


def addresses(tree):
    return [endpoint["addresses"][0] for endpoint in tree["endpoints"] or ()]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("endpoints by hand")])
def test_recorded(name):
    case = CASES[name]
    service = read({**case["services"][0]}, Service)
    wanted = [tree for tree in case["endpointslices"] if "mirroring" in json.dumps(tree["metadata"]["labels"])]
    made = []
    for tree in case["endpoints by hand"]:
        endpoints = read({**tree, "metadata": {"namespace": "ns", **tree["metadata"]}}, Endpoints)
        if concerns(endpoints, service):
            made += [write.tree for write in reconcile(endpoints, []).writes]
    for tree in made:
        del tree["kind"], tree["apiVersion"], tree["metadata"]["ownerReferences"][0]["uid"]
        tree["metadata"]["name"] = "web-<random>"
    assert made == wanted


def test_families_and_ports_have_slices_of_their_own():
    writes = reconcile(by_hand(subset("10.0.0.1", "fd00::1"), subset("10.0.0.1", port=81)), []).writes
    found = [(tree.tree["addressType"], addresses(tree.tree), len(tree.tree["ports"])) for tree in writes]
    assert sorted(found) == [("IPv4", ["10.0.0.1"], 1), ("IPv4", ["10.0.0.1"], 1), ("IPv6", ["fd00::1"], 1)]


def test_ports_with_the_same_addresses_share_a_slice():
    (write,) = reconcile(by_hand(subset("10.0.0.1"), subset("10.0.0.1", port=81)), []).writes
    assert [port["port"] for port in write.tree["ports"]] == [80, 81]


def test_nothing_is_done_twice_and_a_slice_is_used_again():
    endpoints = by_hand(subset("10.0.0.1"), app="x")
    (write,) = reconcile(endpoints, []).writes
    there = slice_of(write)
    assert reconcile(endpoints, [there]).writes == ()
    (changed,) = reconcile(by_hand(subset("10.0.0.2"), app="x"), [there]).writes
    assert isinstance(changed, Patch)
    assert addresses(changed.patch) == ["10.0.0.2"]
    (renamed,) = reconcile(by_hand(subset("10.0.0.1")), [there]).writes
    assert renamed.patch["metadata"]["labels"]["app"] is None
    (moved,) = reconcile(by_hand(subset("10.0.0.1", port=90), app="x"), [there]).writes
    assert isinstance(moved, Patch)
    assert moved.patch["ports"][0]["port"] == 90
    (gone,) = reconcile(by_hand(app="x"), [there]).writes
    assert isinstance(gone, Delete)


def test_a_thousand_at_most_and_no_nonsense():
    many = [f"10.0.{number // 250}.{number % 250}" for number in range(SUBSET_LIMIT + 2)]
    writes = reconcile(by_hand(subset("garbage", *many)), []).writes
    assert [write.said.reason for write in writes if isinstance(write, Say)] == [
        "InvalidIPAddress",
        "TooManyAddressesToMirror",
    ]
    (made,) = [write for write in writes if isinstance(write, Create)]
    assert len(made.tree["endpoints"]) == SUBSET_LIMIT


@pytest.mark.parametrize(
    ("labels", "annotations", "selector", "wanted"),
    [
        ({}, {}, None, True),
        ({"endpointslice.kubernetes.io/skip-mirror": "true"}, {}, None, False),
        ({"endpointslice.kubernetes.io/skip-mirror": "false"}, {}, None, True),
        ({}, {"control-plane.alpha.kubernetes.io/leader": "{}"}, None, False),
        ({}, {}, {"app": "web"}, False),
        ({}, {}, {}, False),
    ],
)
def test_what_is_mirrored(labels, annotations, selector, wanted):
    service = read({"metadata": {"name": "web"}, "spec": {"selector": selector}}, Service)
    assert concerns(by_hand(subset("10.0.0.1"), annotations=annotations, **labels), service) is wanted
    assert not concerns(by_hand(), None)


def test_with_the_api():
    async def scenario():
        async with cluster() as c:
            port = {"name": "db", "port": 3306}
            service = {"metadata": {"name": "db"}, "spec": {"ports": [port]}}
            await c.create({"apiVersion": "v1", "kind": "Service", **service})
            stated = [{"addresses": [{"ip": "192.168.1.100"}], "ports": [port]}]
            await c.create({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "db"}, "subsets": stated})

            def mirrored():
                return [tree for tree in c.all(ENDPOINT_SLICES) if tree["metadata"]["name"].startswith("db-")]

            await c.until(lambda: [addresses(tree) for tree in mirrored()] == [["192.168.1.100"]])
            stated[0]["addresses"] = [{"ip": "192.168.1.101"}]
            await c.patch(ENDPOINTS, "db", {"subsets": stated})
            await c.until(lambda: [addresses(tree) for tree in mirrored()] == [["192.168.1.101"]])
            await c.patch(SERVICES, "db", {"spec": {"selector": {"app": "db"}}})
            await c.until(lambda: [addresses(tree) for tree in mirrored()] == [[]])
            await c.client.delete(SERVICES, "db", "default")
            await c.until(lambda: not mirrored() and c.one(ENDPOINTS, "db") is None)

    asyncio.run(scenario())
