"""What `kubectl get services,endpoints,endpointslices` shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.meta import Tree
from clusterip.api.resource import Resource
from clusterip.api.resources.discovery import ENDPOINT_SLICE
from clusterip.api.resources.services import ENDPOINTS, SERVICE

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def cells(resource: Resource, **fields: Any) -> dict[str, Any]:
    tree: Tree = {"metadata": {"name": "a"}, **fields}
    return {column.name: column.cell(tree, NOW) for column in resource.columns}


EXTERNAL: list[tuple[Tree, list[Tree], str]] = [
    ({"type": "ClusterIP"}, [], "<none>"),
    ({"type": "NodePort", "externalIPs": ["1.2.3.4", "1.2.3.5"]}, [], "1.2.3.4,1.2.3.5"),
    ({"type": "LoadBalancer"}, [], "<pending>"),
    ({"type": "LoadBalancer"}, [{"ip": "2.2.2.2"}, {"hostname": "b"}, {"ip": "1.1.1.1"}], "1.1.1.1,2.2.2.2,b"),
    ({"type": "LoadBalancer", "externalIPs": ["1.2.3.4"]}, [{"ip": "2.2.2.2"}], "2.2.2.2,1.2.3.4"),
    ({"type": "ExternalName", "externalName": "a.b"}, [], "a.b"),
]


@pytest.mark.parametrize(("spec", "ingress", "text"), EXTERNAL)
def test_external_addresses(spec: Tree, ingress: list[Tree], text: str) -> None:
    assert cells(SERVICE, spec=spec, status={"loadBalancer": {"ingress": ingress}})["External-IP"] == text


def test_ports() -> None:
    ports = [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]
    assert cells(SERVICE, spec={"type": "NodePort", "ports": ports})["Port(s)"] == "80/TCP,53:30053/UDP"
    assert cells(SERVICE, spec={"type": "ClusterIP"})["Port(s)"] == "<none>"


ADDRESSES = [{"ip": f"10.0.0.{n}"} for n in range(1, 4)]

SUBSETS: list[tuple[list[Tree], str]] = [
    ([], "<none>"),
    ([{"addresses": ADDRESSES[:1]}], "10.0.0.1"),
    ([{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}], "[fd00::1]:80"),
    ([{"addresses": ADDRESSES, "ports": [{"port": 80}]}], "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80"),
    (
        [{"addresses": ADDRESSES, "ports": [{"port": 80}, {"port": 81}]}],
        "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 3 more...",
    ),
    ([{"notReadyAddresses": ADDRESSES, "ports": [{"port": 80}]}], ""),
]


@pytest.mark.parametrize(("subsets", "text"), SUBSETS)
def test_endpoints(subsets: list[Tree], text: str) -> None:
    assert cells(ENDPOINTS, subsets=subsets)["Endpoints"] == text


def test_endpoints_are_judged_when_they_change() -> None:
    old = {"metadata": {"name": "a"}, "subsets": [{"addresses": [{"ip": "010.0.0.1"}]}]}
    assert ENDPOINTS.validate_update(old, old) == []
    new = {**old, "subsets": [*old["subsets"], {}]}
    assert len(ENDPOINTS.validate_update(new, old)) == 2


def test_slices() -> None:
    empty = cells(ENDPOINT_SLICE, addressType="IPv4")
    assert (empty["Ports"], empty["Endpoints"]) == ("<unset>", "<unset>")
    ports = [{"port": 80}, {"name": "web"}, {}]
    endpoints = [{"addresses": [f"10.0.0.{n}"]} for n in range(5)]
    full = cells(ENDPOINT_SLICE, addressType="IPv4", ports=ports, endpoints=endpoints)
    assert (full["Ports"], full["Endpoints"]) == ("80,web,*", "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more...")


def test_a_slice_with_other_endpoints_is_a_new_generation() -> None:
    old: Tree = {"metadata": {"name": "a", "generation": 1}, "endpoints": [{"addresses": ["10.0.0.1"]}]}
    same: Tree = {**old, "metadata": {"name": "a", "annotations": {"x": "y"}}}
    ENDPOINT_SLICE.prepare_update(same, old)
    other: Tree = {**old, "metadata": {"name": "a"}, "endpoints": []}
    ENDPOINT_SLICE.prepare_update(other, old)
    assert (same["metadata"]["generation"], other["metadata"]["generation"]) == (1, 2)
