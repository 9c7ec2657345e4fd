"""The ranges of a pool: exactly the addresses between first and last, and how many can be given."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from clusterip.api.metallb_pools import ENDLESS, capacity, parse_range, read_pool


def pool(*addresses: str, **spec: object) -> object:
    return {"metadata": {"name": "p"}, "spec": {"addresses": list(addresses), **spec}}


@given(st.integers(0, 2**32 - 1), st.integers(0, 600))
def test_a_range_is_exactly_what_lies_between(start: int, length: int) -> None:
    first, last = IPv4Address(start), IPv4Address(min(start + length, 2**32 - 1))
    found = [address for network in parse_range(f"{first} - {last}") for address in network]
    assert found == [IPv4Address(n) for n in range(int(first), int(last) + 1)]


@given(st.integers(0, 255), st.integers(20, 32))
def test_capacity_counts_what_is_not_avoided(byte: int, length: int) -> None:
    found = read_pool(pool(f"10.0.{byte}.0/{length}", avoidBuggyIPs=True))  # type: ignore[arg-type]
    usable = [a for network in found.networks for a in network if a.packed[3] not in (0, 255)]
    assert capacity(found) == (len(usable), 0)


def test_the_lessons_range_has_eleven_addresses() -> None:
    found = read_pool(pool("192.168.4.10-192.168.4.20"))  # type: ignore[arg-type]
    assert capacity(found) == (11, 0)
    assert found.auto_assign


def test_a_prefix_may_have_host_bits_and_a_wide_one_never_ends() -> None:
    assert [str(each) for each in parse_range("10.0.0.7/24")] == ["10.0.0.0/24"]
    assert capacity(read_pool(pool("fd00::/64", "10.0.0.0/30"))) == (4, ENDLESS)  # type: ignore[arg-type]
