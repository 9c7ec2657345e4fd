"""The text that goes to nft, the text that comes back, and who changed what."""

from __future__ import annotations

import struct

import pytest

from clusterip.diff import Changes
from clusterip.kernel import nft_listing
from clusterip.kernel.nft import (
    TABLE,
    Chain,
    Element,
    Hook,
    Key,
    NftError,
    SetSpec,
    Table,
    TableSpec,
    Value,
    chain_key,
    element_key,
    render,
    set_key,
)
from clusterip.kernel.nft_monitor import foreign
from clusterip.kernel.nft_statement import Drop, Field, Is, Masquerade, Reject, Spread, Translate, canonical, rule

OURS = Table("ip", "t")


def lines(put: dict[Key, Value] | None = None, remove: dict[Key, Value] | None = None) -> list[str]:
    return render(OURS, Changes(put or {}, remove or {})).strip().splitlines()


def test_everything_is_made_before_it_is_named() -> None:
    put: dict[Key, Value] = {
        element_key("m", "10.0.0.1"): Element("goto c", "a comment"),
        chain_key("base"): Chain((rule(Drop(), comment="why"),), Hook("nat", "output", -100)),
        chain_key("c"): Chain((rule(Is(Field.PROTOCOL, "udp"), Translate("10.0.0.2", 53)),), comment="a chain"),
        set_key("m"): SetSpec("ip daddr", "verdict", comment="a map"),
        set_key("d"): SetSpec("ip saddr", timeout_seconds=60, is_dynamic=True),
        TABLE: TableSpec("ours"),
    }
    assert lines(put) == [
        'add table ip t { comment "ours"; }',
        'add map ip t m { typeof ip daddr : verdict; comment "a map"; }',
        "add set ip t d { typeof ip saddr; size 65535; flags dynamic,timeout; timeout 60s; }",
        "add chain ip t base { type nat hook output priority -100; policy accept; }",
        'add chain ip t c { comment "a chain"; }',
        'add element ip t m { 10.0.0.1 comment "a comment" : goto c }',
        'add rule ip t base drop comment "why"',
        "add rule ip t c meta l4proto udp dnat to 10.0.0.2:53",
    ]


def test_what_changes_is_taken_out_and_put_in() -> None:
    old, new = Chain((rule(Drop()),)), Chain((rule(Reject()),))
    element = element_key("m", "1.1.1.1")
    assert lines(
        {chain_key("c"): new, element: Element("drop")}, {chain_key("c"): old, element: Element("goto x")}
    ) == [
        "flush chain ip t c",
        "add chain ip t c",
        "delete element ip t m { 1.1.1.1 }",
        "add element ip t m { 1.1.1.1 : drop }",
        "add rule ip t c reject",
    ]


def test_elements_of_a_set_that_goes_are_not_named() -> None:
    assert lines(remove={set_key("s"): SetSpec("ip saddr"), element_key("s", "1.1.1.1"): Element()}) == [
        "delete set ip t s"
    ]


def test_another_hook_makes_the_chain_anew() -> None:
    old, new = (Chain((), Hook("nat", "output", priority)) for priority in (-100, -90))
    assert lines({chain_key("c"): new}, {chain_key("c"): old})[:2] == ["flush chain ip t c", "delete chain ip t c"]


def test_a_set_cannot_change_its_type() -> None:
    with pytest.raises(NftError, match="cannot change its type"):
        lines({set_key("s"): SetSpec("ip saddr")}, {set_key("s"): SetSpec("ip daddr")})


def test_elements_go_in_pieces() -> None:
    put: dict[Key, Value] = {element_key("s", f"10.0.{n // 250}.{n % 250}"): Element() for n in range(1100)}
    assert [line.count("10.0.") for line in lines(put)] == [500, 500, 100]


def test_anonymous_sets_compare_in_any_order() -> None:
    assert rule(Spread(("a", "b"))).text == canonical("numgen random mod 2 vmap { 1 : goto b, 0 : goto a }")


LISTING = """\
table ip t {
	comment "ours"
	map m {
		typeof ip daddr . meta l4proto . th dport : verdict
		comment "with \u00fcml\u00e4uts"
		elements = { 10.0.0.1 . tcp . 80 comment "ns/web:http, {x} : y" : goto c,
				10.0.0.2 . udp . 53 : drop }
	}

	set d {
		typeof ip saddr
		size 65535
		flags dynamic,timeout
		timeout 1d2h3m4s
		elements = { 10.0.0.9 expires 2h59m59s996ms }
	}

	set n {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8, 192.0.2.1-192.0.2.9 }
	}

	chain c {
		comment "a chain"
		type filter hook output priority dstnat + 5; policy drop;
		meta l4proto tcp dnat to 10.0.0.1:80 comment "x"
		masquerade fully-random
	}
}
"""


def test_a_listing_is_read() -> None:
    assert nft_listing.parse(LISTING, OURS) == {
        TABLE: TableSpec("ours"),
        set_key("m"): SetSpec("ip daddr . meta l4proto . th dport", "verdict", comment="with ümläuts"),
        element_key("m", "10.0.0.1 . tcp . 80"): Element("goto c", "ns/web:http, {x} : y"),
        element_key("m", "10.0.0.2 . udp . 53"): Element("drop"),
        set_key("d"): SetSpec("ip saddr", timeout_seconds=86400 + 7200 + 180 + 4, is_dynamic=True),
        set_key("n"): SetSpec("ipv4_addr"),
        element_key("n", "10.0.0.0/8"): Element(),
        element_key("n", "192.0.2.1-192.0.2.9"): Element(),
        chain_key("c"): Chain(
            (rule(Is(Field.PROTOCOL, "tcp"), Translate("10.0.0.1", 80), comment="x"), rule(Masquerade())),
            Hook("filter", "output", -95, "drop"),
            "a chain",
        ),
    }


def event(table: str, port: int, family: int = 2, kind: int = 12) -> bytes:
    name = table.encode() + b"\0"
    attribute = struct.pack("=HH", len(name) + 4, 1) + name + bytes(-len(name) % 4)
    body = bytes([family, 0, 0, 0]) + attribute
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, port) + body


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (event("t", 77), True),
        (event("t", 42), False),
        (event("other", 77), False),
        (event("t", 77, family=10), False),
        (event("other", 77) + event("t", 77), True),
        (event("t", 77, kind=15), False),
        (b"", False),
        (b"\1\2\3", False),
    ],
)
def test_foreign_changes_of_our_table(datagram: bytes, expected: bool) -> None:
    assert foreign(datagram, OURS, {42}) is expected
