"""Addresses and node ports are held by stored objects: whoever comes second does not get them."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from apiserver.wire import SERVICES, Wire, served, service
from clusterip.api.allocation import Ranges
from clusterip.apiserver.core import Settings

ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
RANGES = "/apis/networking.k8s.io/v1/servicecidrs"
SMALL = Settings(ranges=Ranges((ip_network("10.96.0.0/28"),), range(30000, 30004)))
DUAL = Settings(ranges=Ranges((ip_network("10.96.0.0/28"), ip_network("fd00::/120"))))
EVERY_ADDRESS = {f"10.96.0.{number}" for number in range(1, 15)}


async def held(wire: Wire) -> dict[str, str]:
    """Who has which address."""
    items = (await wire.ok("GET", ADDRESSES))["items"]
    return {item["metadata"]["name"]: item["spec"]["parentRef"]["name"] for item in items}


def ports(wire: Wire) -> set[int]:
    return {int(name) for name in wire.api.server.core.holdings.ports.entries}


def test_many_at_once_get_each_address_once_and_then_are_told_that_there_are_no_more() -> None:
    async def body(wire: Wire) -> None:
        answers = await asyncio.gather(*(wire("POST", SERVICES, service(f"s{n}")) for n in range(20)))
        made = [tree["spec"]["clusterIP"] for status, tree in answers if status == 201]
        assert set(made) == EVERY_ADDRESS - {"10.96.0.1"}
        assert len(made) == 13
        refused = [(status, tree["message"]) for status, tree in answers if status != 201]
        assert {status for status, _ in refused} == {500}
        assert all(text.endswith(": range is full") for _, text in refused)
        assert set(await held(wire)) == EVERY_ADDRESS

    served(body, settings=SMALL)


def test_one_address_asked_for_by_many_goes_to_one() -> None:
    async def body(wire: Wire) -> None:
        asked = (wire("POST", SERVICES, service(f"s{n}", clusterIP="10.96.0.9")) for n in range(10))
        answers = await asyncio.gather(*asked)
        assert sorted(status for status, _ in answers) == [201] + [422] * 9
        name = next(tree["metadata"]["name"] for status, tree in answers if status == 201)
        assert (await held(wire))["10.96.0.9"] == name

    served(body, settings=SMALL)


def test_node_ports_are_given_once_and_come_back() -> None:
    async def body(wire: Wire) -> None:
        answers = await asyncio.gather(*(wire("POST", SERVICES, service(f"s{n}", type="NodePort")) for n in range(6)))
        assert sorted(status for status, _ in answers) == [201] * 4 + [500] * 2
        assert ports(wire) == {30000, 30001, 30002, 30003}
        gone = next(tree for status, tree in answers if status == 201)
        await wire.ok("DELETE", f"{SERVICES}/{gone['metadata']['name']}")
        assert ports(wire) == {30000, 30001, 30002, 30003} - {gone["spec"]["ports"][0]["nodePort"]}
        await wire.ok("POST", SERVICES, service("later", type="NodePort"))
        await wire.ok("PATCH", f"{SERVICES}/later", {"spec": {"type": "ClusterIP"}}, type="merge")
        assert len(ports(wire)) == 3

    served(body, settings=SMALL)


def test_an_address_that_somebody_else_keeps_is_not_given() -> None:
    async def body(wire: Wire) -> None:
        parent = {"group": "example.com", "resource": "gateways", "name": "g"}
        await wire.ok("POST", ADDRESSES, {"metadata": {"name": "10.96.0.5"}, "spec": {"parentRef": parent}})
        status, tree = await wire("POST", SERVICES, service("a", clusterIP="10.96.0.5"))
        assert status == 422
        assert tree["message"].endswith("failed to allocate IP 10.96.0.5: provided IP is already allocated")
        made = [await wire("POST", SERVICES, service(f"s{n}")) for n in range(13)]
        assert sorted(status for status, _ in made) == [201] * 12 + [500]

    served(body, settings=SMALL)


def test_a_dry_run_takes_nothing() -> None:
    async def body(wire: Wire) -> None:
        before = await held(wire)
        shown = await wire.ok("POST", f"{SERVICES}?dryRun=All", service("a", type="NodePort"))
        assert shown["spec"]["clusterIP"] == "10.96.0.0"
        assert shown["spec"]["ports"][0]["nodePort"] == 32769
        await wire.ok("POST", f"{SERVICES}?dryRun=All", service("a", clusterIP="10.96.0.1"))
        assert await held(wire) == before
        assert not ports(wire)

    served(body, settings=SMALL)


def test_a_range_made_at_run_time_gives_more_and_a_closed_one_none() -> None:
    async def body(wire: Wire) -> None:
        for number in range(13):
            await wire.ok("POST", SERVICES, service(f"s{number}"))
        assert (await wire("POST", SERVICES, service("more")))[0] == 500
        await wire.ok("POST", RANGES, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/30"]}})
        given = await wire.ok("POST", SERVICES, service("more"))
        assert given["spec"]["clusterIP"] in ("10.97.0.1", "10.97.0.2")
        asked = {"10.97.0.1", "10.97.0.2"} - {given["spec"]["clusterIP"]}
        closed = {
            "type": "Ready",
            "status": "False",
            "reason": "Terminating",
            "message": "",
            "lastTransitionTime": None,
        }
        closed["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        status = {"status": {"conditions": [closed]}}
        await wire.ok("PATCH", f"{RANGES}/more/status", status, type="merge")
        refused, tree = await wire("POST", SERVICES, service("last", clusterIP=asked.pop()))
        assert refused == 422
        assert tree["message"].endswith("the provided network does not match the current range")

    served(body, settings=SMALL)


def test_a_second_family_comes_and_goes_with_its_address() -> None:
    async def body(wire: Wire) -> None:
        made = await wire.ok("POST", SERVICES, service("a"))
        assert made["spec"]["ipFamilies"] == ["IPv4"]
        policy = {"spec": {"ipFamilyPolicy": "PreferDualStack"}}
        both = await wire.ok("PATCH", f"{SERVICES}/a", policy, type="merge")
        assert both["spec"]["clusterIPs"][0] == made["spec"]["clusterIP"]
        assert both["spec"]["clusterIPs"][1].startswith("fd00::")
        assert {ip for ip, name in (await held(wire)).items() if name == "a"} == set(both["spec"]["clusterIPs"])
        await wire.ok("PATCH", f"{SERVICES}/a", {"spec": {"ipFamilyPolicy": "SingleStack"}}, type="merge")
        assert {ip for ip, name in (await held(wire)).items() if name == "a"} == {made["spec"]["clusterIP"]}

    served(body, settings=DUAL)


@pytest.mark.parametrize("count", [1, 2])
def test_the_default_range_says_the_networks_of_the_server(count: int) -> None:
    settings = Settings(ranges=Ranges(DUAL.ranges.networks[:count]))

    async def body(wire: Wire) -> None:
        kept: Any = await wire.ok("GET", f"{RANGES}/kubernetes")
        assert kept["spec"]["cidrs"] == [str(network) for network in settings.ranges.networks]
        assert kept["status"]["conditions"][0]["status"] == "True"

    served(body, settings=settings)
