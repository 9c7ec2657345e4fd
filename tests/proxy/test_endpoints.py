"""Slices read once, merged over slices, and weights by address and by name."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from clusterip.proxy.endpoints import ReadSlice, endpoints_of, read_slice, weights_of
from clusterip.proxy.model import Family, PortName
from clusterip.proxy.objects import EndpointSlice, decoder
from proxy.clusters import node

NAME = PortName("default", "web", "a", "tcp")


def read(*endpoints: dict[str, Any], family: Family = Family.IPV4, **more: Any) -> ReadSlice:
    tree = {
        "metadata": {"name": "s", "namespace": "default"},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "a", "port": 8080}],
    }
    return read_slice(decoder(EndpointSlice)({**tree, **more}), node(family=family))


def at(address: str, **more: Any) -> dict[str, Any]:
    return {"addresses": [address], **more}


def test_an_endpoint_in_two_slices_counts_once_whatever_their_order() -> None:
    ready, leaving = {"ready": True}, {"ready": False, "serving": True, "terminating": True}
    slices = (
        read(at("10.244.1.5", conditions=leaving, nodeName="node-1"), at("10.244.1.6")),
        read(at("10.244.1.5", conditions=ready, nodeName="node-2")),
        read(at("10.244.1.5", conditions=ready, hints={"forZones": [{"name": "a"}]})),
    )
    found = {frozenset(endpoints_of(NAME, order)) for order in permutations(slices)}
    assert len(found) == 1
    first = next(endpoint for endpoint in found.pop() if str(endpoint.target.address) == "10.244.1.5")
    assert (first.is_ready, first.target.is_local, first.zone_hints) == (True, True, {"a"})


def test_an_endpoint_twice_in_one_slice_counts_once() -> None:
    assert len(endpoints_of(NAME, [read(at("10.244.1.5"), at("10.244.1.5"))])) == 1


def test_one_name_with_two_numbers_is_two_places() -> None:
    two = read(at("10.244.1.5"), ports=[{"name": "a", "port": 8080}, {"name": "a", "port": 8081}])
    assert [str(endpoint.target) for endpoint in endpoints_of(NAME, [two])] == ["10.244.1.5:8080", "10.244.1.5:8081"]


def test_only_the_first_address_counts_and_only_of_this_family() -> None:
    assert len(endpoints_of(NAME, [read({"addresses": ["10.244.1.5", "10.244.1.6"]})])) == 1
    assert endpoints_of(NAME, [read(at("fd00::5"), addressType="IPv6")]) == ()
    six = read(at("fd00::5"), addressType="IPv6", family=Family.IPV6)
    assert [str(endpoint.target) for endpoint in endpoints_of(NAME, [six])] == ["[fd00::5]:8080"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("10.244.1.5=3", {"10.244.1.5:8080": 3}),
        ("web-*=2, 10.244.1.5 = 0", {"10.244.1.5:8080": 0, "10.244.1.6:8080": 2}),
        ("web-b=4,web-*=2", {"10.244.1.5:8080": 2, "10.244.1.6:8080": 4}),
        ("web-*=1", {}),
        ("web-*=many,10.244.1.6=70000,10.244.1.5=7", {"10.244.1.5:8080": 7}),
    ],
)
def test_weights(text: str, expected: dict[str, int]) -> None:
    slices = [read(at("10.244.1.5", targetRef={"name": "web-a"}), at("10.244.1.6", targetRef={"name": "web-b"}))]
    found = weights_of(text, NAME, slices)
    assert {str(target): weight for target, weight in found.items()} == expected


def test_a_weight_that_cannot_be_read_is_told(caplog: pytest.LogCaptureFixture) -> None:
    weights_of("web", NAME, [read(at("10.244.1.5"))])
    assert caplog.messages == ["Ignoring a weight that is not name=number"]
