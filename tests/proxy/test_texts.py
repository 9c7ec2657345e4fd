"""Addresses and networks as objects have them, odd ones included."""

from __future__ import annotations

import pytest

from clusterip.proxy.model import Family
from clusterip.proxy.texts import networks, parse_address, parsed


def test_each_family_takes_its_own(caplog: pytest.LogCaptureFixture) -> None:
    texts = ("10.96.0.1", "fd00::1", "", "None", "nonsense", "10.0.0.300", "fd00::zz")
    assert [str(address) for address in parsed(texts, Family.IPV4)] == ["10.96.0.1"]
    assert caplog.messages == ["Ignoring what is not an address"] * 3
    assert [str(address) for address in parsed(texts, Family.IPV6)] == ["fd00::1"]


def test_an_address_of_either_family() -> None:
    assert [str(parse_address(text)) for text in ("10.0.0.1", "fd00::1", "x")] == ["10.0.0.1", "fd00::1", "None"]


@pytest.mark.parametrize(
    ("text", "four", "six"),
    [
        (" 10.1.2.3/8", ["10.0.0.0/8"], []),
        ("010.001.000.000/16", ["10.1.0.0/16"], []),
        ("10.1.2.3", ["10.1.2.3/32"], []),
        ("fd00::1/8 ", [], ["fd00::/8"]),
        ("nonsense", [], []),
        ("10.0.0.0/33", [], []),
    ],
)
def test_networks_tolerate_what_old_objects_hold(text: str, four: list[str], six: list[str]) -> None:
    found = [[str(network) for network in networks([text], family, "web")] for family in Family]
    assert found == [four, six]
