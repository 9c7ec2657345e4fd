"""Names, keys and addresses: what is right, and the words for what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api import names

RIGHT = (
    (names.label, ("a", "1abc", "my-name", "a" * 63)),
    (names.subdomain, ("a.b", "1.2.3", "x" * 63 + ".y")),
    (names.qualified_name, ("a", "A_b.c", "example.com/Name", "kubernetes.io/h2c")),
    (names.label_value, ("", "a", "12345", "My_Value")),
    (names.config_key, ("key.name", "KEY_NAME", ".hidden", "a")),
    (names.env_name, ("A", "a b", "my.env-name", "1X")),
    (names.port_name, ("http", "p-1", "8080-tcp")),
    (names.percent, ("25%", "0%", "100%")),
    (names.http_header, ("X-Header", "a")),
    (names.address, ("10.96.0.1", "::1", "FE80:0:0:0:0:0:0:0abc")),
    (names.network, ("10.0.0.0/8", "0.0.0.0/0", "2001:db8::/64")),
)


@pytest.mark.parametrize(("check", "value"), [(check, value) for check, values in RIGHT for value in values])
def test_accepts(check: Callable[[str], list[str]], value: str) -> None:
    assert check(value) == []


WRONG = (
    (names.label, "a.b", "must not contain dots"),
    (names.label, "a" * 64, "must be no more than 63 characters"),
    (names.label, "Abc", names._LABEL_REASON),
    (names.label, "a\n", names._LABEL_REASON),
    (names.subdomain, "a..b", names._SUBDOMAIN_REASON),
    (names.subdomain, "-", names._SUBDOMAIN_REASON),
    (names.qualified_name, "/a", "prefix part must be non-empty"),
    (names.qualified_name, "a.b/" + "x" * 64, "name part must be no more than 63 bytes"),
    (names.qualified_name, "A/b", f"prefix part {names._SUBDOMAIN_REASON}"),
    (names.label_value, "-", names._LABEL_VALUE_REASON),
    (names.config_key, "..", "must not be '..'"),
    (names.config_key, "..a", "must not start with '..'"),
    (names.env_name, "", "environment variable name must be non-empty"),
    (names.port_name, "a" * 16, "must be no more than 15 characters"),
    (names.port_name, "80", "must contain at least one letter (a-z)"),
    (names.port_name, "a--b", "must not contain consecutive hyphens"),
    (names.port_name, "-a", "must not begin or end with a hyphen"),
    (names.address, "10.0.0.256", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    (names.address, "010.0.0.1", "must not have leading 0s"),
    (names.address, "::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
    (names.address, "fe80::1%eth0", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    (names.network, "10.0.0.1", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
    (names.network, "10.0.0.1/8", "must not have bits set beyond the prefix length"),
    (names.network, "10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
    (names.network, "10.0.0.0/33", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
)


@pytest.mark.parametrize(("check", "value", "reason"), WRONG)
def test_refuses(check: Callable[[str], list[str]], value: str, reason: str) -> None:
    assert reason in check(value)


def test_two_slashes_are_no_key() -> None:
    (reason,) = names.qualified_name("a/b/c")
    assert reason.startswith("a valid label key must consist of")
    assert reason.endswith("with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")


SPECIAL = {
    "0.0.0.0": "may not be unspecified (0.0.0.0)",
    "127.9.9.9": "may not be in the loopback range (127.0.0.0/8, ::1/128)",
    "::1": "may not be in the loopback range (127.0.0.0/8, ::1/128)",
    "169.254.1.1": "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
    "224.0.0.5": "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
}


@pytest.mark.parametrize("address", SPECIAL)
def test_addresses_that_nobody_reaches(address: str) -> None:
    assert names.not_for_endpoints(address) == [SPECIAL[address]]


def test_ordinary_addresses_are_reached() -> None:
    assert not names.not_for_endpoints("10.244.1.5")
    assert not names.not_for_endpoints("224.0.1.5")


def test_a_prefix_may_end_in_a_dash() -> None:
    assert names.name_is_label("web-", True) == []
    assert names.name_is_label("web-", False)
    assert names.name_is_subdomain("a.b-", True) == []


@pytest.mark.parametrize(("name", "reasons"), [("..", ["may not be '..'"]), ("a/b", ["may not contain '/'"])])
def test_path_segments(name: str, reasons: list[str]) -> None:
    assert names.path_segment(name) == reasons


@given(st.text(max_size=70))
def test_a_label_is_a_subdomain(text: str) -> None:
    if not names.label(text):
        assert not names.subdomain(text)


@given(st.ip_addresses().map(str))
def test_every_canonical_address_is_right(text: str) -> None:
    parsed = names.parse_address(text)
    assert parsed is not None
    is_mapped = ":" in text and parsed.version == 4
    assert bool(names.address(text)) == is_mapped
