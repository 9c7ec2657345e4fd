"""nftables as values, as the text that goes to nft, as netlink requests, and who changed what."""

from __future__ import annotations

import struct

import pytest

from clusterip.diff import Changes
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
    element_changes,
    element_key,
    joined,
    set_key,
    split,
)
from clusterip.kernel.nft_expression import named, rule
from clusterip.kernel.nft_field import NUMBER, Field, pack, show
from clusterip.kernel.nft_message import describe, requests
from clusterip.kernel.nft_monitor import foreign
from clusterip.kernel.nft_reader import normal
from clusterip.kernel.nft_statement import Drop, Goto, InSet, Is, Reject, Remember, Translate
from clusterip.kernel.nft_text import render

OURS = Table("ip", "t")
ADDRESS = (Field.DESTINATION,)
SPECS = {"m": SetSpec(ADDRESS, has_verdicts=True, comment="a map"), "s": SetSpec(ADDRESS)}


def lines(put: dict[Key, Value] | None = None, remove: dict[Key, Value] | None = None) -> list[str]:
    return render(OURS, Changes(put or {}, remove or {}), SPECS).strip().splitlines()


def member(name: str, address: str) -> Key:
    return element_key(name, pack(address, ADDRESS, "ip"))


def test_everything_is_made_before_it_is_named() -> None:
    put: dict[Key, Value] = {
        member("m", "10.0.0.1"): Element("goto c", "a comment"),
        chain_key("base"): Chain((rule(Drop(), comment="why"),), Hook("nat", "output", -100)),
        chain_key("c"): Chain((rule(Is(Field.PROTOCOL, "udp"), Translate("10.0.0.2", 53)),), comment="a chain"),
        set_key("m"): SPECS["m"],
        set_key("d"): SetSpec((Field.SOURCE,), timeout_seconds=60, is_dynamic=True),
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
    element = member("m", "1.1.1.1")
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
    assert lines(remove={set_key("s"): SPECS["s"], member("s", "1.1.1.1"): Element()}) == ["delete set ip t s"]


def test_another_hook_makes_the_chain_anew() -> None:
    old, new = (Chain((), Hook("nat", "output", priority)) for priority in (-100, -90))
    assert lines({chain_key("c"): new}, {chain_key("c"): old})[:2] == ["flush chain ip t c", "delete chain ip t c"]


def test_a_set_cannot_change_its_type() -> None:
    changes: Changes[Key, Value] = Changes({set_key("s"): SPECS["s"]}, {set_key("s"): SetSpec((Field.SOURCE,))})
    for write in (lambda: lines(dict(changes.put), dict(changes.remove)), lambda: requests(OURS, changes)):
        with pytest.raises(NftError, match="cannot change its type"):
            write()


def test_elements_go_in_pieces() -> None:
    put: dict[Key, Value] = {member("s", f"10.0.{n // 250}.{n % 250}"): Element() for n in range(1100)}
    assert [line.count("10.0.") for line in lines(put)] == [500, 500, 100]
    many: dict[Key, Value] = {element_key("s", NUMBER.pack(n)): Element() for n in range(5000)}
    assert [len(found.body) < 1 << 16 for found in requests(OURS, Changes(many))] == [True, True]


@pytest.mark.parametrize(
    ("family", "text", "size"),
    [("ip", "10.96.0.1 . tcp . 443 . 65536", 16), ("ip6", "fd00::1 . sctp . 65535 . 7", 28)],
)
def test_the_text_of_a_key_and_its_bytes(family: str, text: str, size: int) -> None:
    fields = (Field.DESTINATION, Field.PROTOCOL, Field.PORT, Field.NUMBER)
    packed = pack(text, fields, family)
    assert len(packed) == size
    assert show(packed, fields, family) == text


def test_a_key_of_other_fields_is_no_key() -> None:
    with pytest.raises(ValueError, match="is not ip daddr"):
        pack("10.0.0.1 . tcp", ADDRESS, "ip")


def test_a_run_is_many_elements_and_many_elements_are_runs() -> None:
    run, gap = Element(b"aaaaaaaabbbbbbbb", "c"), Element(b"dddddddd", "c")
    slots = dict(split(element_key("m", b"key." + NUMBER.pack(5)), run, 8))
    assert {key.element[-4:]: value.value for key, value in slots.items()} == {
        NUMBER.pack(5): b"aaaaaaaa",
        NUMBER.pack(6): b"bbbbbbbb",
    }
    told = {key.element: value for key, value in slots.items()} | {b"key." + NUMBER.pack(8): gap}
    assert joined(told) == {b"key." + NUMBER.pack(5): run, b"key." + NUMBER.pack(8): gap}
    other = {b"key." + NUMBER.pack(7): Element(b"dddddddd", "another")}
    assert len(joined(told | other)) == 3


def test_what_stays_in_a_run_is_not_written() -> None:
    key = element_key("m", b"key." + NUMBER.pack(0))
    changes: Changes[Key, Value] = Changes(
        {key: Element(b"aaaaaaaaXXXXXXXX")}, {key: Element(b"aaaaaaaabbbbbbbbcccccccc")}
    )
    (found,) = element_changes("ip", changes)
    assert [key[-4:] for key in found.put] == [NUMBER.pack(1)]
    assert [key[-4:] for key in found.remove] == [NUMBER.pack(1), NUMBER.pack(2)]


def test_a_rule_says_what_it_names_and_is_in_normal_form() -> None:
    found = rule(InSet((Field.SOURCE,), "clients"), Remember("more"), Goto("on"))
    assert named(found.expressions) == ("clients", "more", "on")
    assert normal(found.expressions) == found.expressions


def test_a_refusal_names_its_object() -> None:
    put: dict[Key, Value] = {
        chain_key("c"): Chain((rule(Drop()),)),
        set_key("s"): SPECS["s"],
        **{element_key("s", NUMBER.pack(0x7F7F00 + n)): Element() for n in range(3)},
    }
    made = requests(OURS, Changes(put))
    assert [describe(found, 0) for found in made] == ["set s", "chain c", "a rule of chain c", "an element of s"]
    second = made[3].body.index(NUMBER.pack(0x7F7F01)) + 20
    assert describe(made[3], second) == f"s {NUMBER.pack(0x7F7F01).hex()}"


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
