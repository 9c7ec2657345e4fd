"""ServiceCIDR, IPAddress and Lease."""

from __future__ import annotations

import pytest

from clusterip.api.meta import Tree
from clusterip.api.resources.coordination import LEASE
from clusterip.api.resources.networking import IP_ADDRESS, SERVICE_CIDR, address_object, range_object


def test_the_address_of_a_service() -> None:
    tree = address_object("10.96.0.9", "ns", "web")
    assert IP_ADDRESS.validate(tree) == []
    assert IP_ADDRESS.name_rule("10.96.0.9", False) == []
    assert IP_ADDRESS.columns[1].cell(tree, None) == "services/ns/web"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["web", "010.0.0.1", "FD00::1"])
def test_names_that_are_no_addresses(name: str) -> None:
    assert IP_ADDRESS.name_rule(name, False)


@pytest.mark.parametrize(
    ("parent", "fields"),
    [({}, ["spec.parentRef.resource", "spec.parentRef.name"]), (None, ["spec.parentRef"])],
)
def test_an_address_has_an_owner(parent: Tree | None, fields: list[str]) -> None:
    assert [error.field for error in IP_ADDRESS.validate({"spec": {"parentRef": parent}})] == fields


@pytest.mark.parametrize(
    ("cidrs", "right"),
    [
        (["10.96.0.0/12"], True),
        (["10.96.0.0/12", "fd00::/112"], True),
        ([], False),
        (["10.96.0.1/12"], False),
        (["10.96.0.0/12", "10.0.0.0/8"], False),
    ],
)
def test_ranges(cidrs: list[str], right: bool) -> None:
    assert (SERVICE_CIDR.validate(range_object(cidrs)) == []) == right


def test_a_range_only_grows() -> None:
    one, two = range_object(["10.96.0.0/12"]), range_object(["10.96.0.0/12", "fd00::/112"])
    assert SERVICE_CIDR.validate_update(two, one) == []
    assert SERVICE_CIDR.validate_update(one, two)
    assert SERVICE_CIDR.validate_update(range_object(["10.0.0.0/8"]), one)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"holderIdentity": "me", "leaseDurationSeconds": 15}, []),
        ({"leaseDurationSeconds": 0, "leaseTransitions": -1}, ["spec.leaseDurationSeconds", "spec.leaseTransitions"]),
        ({"strategy": "Odd"}, ["spec.strategy"]),
        ({"preferredHolder": "x"}, ["spec.preferredHolder"]),
    ],
)
def test_leases(spec: Tree, fields: list[str]) -> None:
    assert [error.field for error in LEASE.validate({"spec": spec})] == fields
