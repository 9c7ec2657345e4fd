"""ARP and neighbour discovery as bytes: what is said, what is believed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.speaker.frames import (
    ALL_NODES,
    BROADCAST,
    Claim,
    Question,
    advertisement,
    arp_announcements,
    arp_reply,
    multicast_mac,
    read,
    solicited_group,
)

MINE, THEIRS = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
VIP, ASKER = IPv4Address("192.168.4.10"), IPv4Address("192.168.4.1")
VIP6, ASKER6, OWN6 = IPv6Address("fd00::10"), IPv6Address("fe80::2"), IPv6Address("fe80::1")


def arp(operation: int, sha: bytes, spa: str, tpa: str, to: bytes = BROADCAST, tha: bytes = bytes(6)) -> bytes:
    head = to + sha + bytes.fromhex("0806 0001 0800 06 04") + operation.to_bytes(2, "big")
    return head + sha + IPv4Address(spa).packed + tha + IPv4Address(tpa).packed


def solicitation(target: IPv6Address, source: IPv6Address = ASKER6, mac: bytes = THEIRS) -> bytes:
    """Made from an advertisement: the layout is the same, the sum is made anew."""
    group = solicited_group(target)
    option = bytes((1, 1)) + mac if int(source) else b""
    message = bytes((135, 0, 0, 0)) + bytes(4) + target.packed + option
    pseudo = source.packed + group.packed + len(message).to_bytes(4, "big") + bytes((0, 0, 0, 58)) + message
    total = sum(int.from_bytes(pseudo[i : i + 2], "big") for i in range(0, len(pseudo), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    message = message[:2] + (~total & 0xFFFF).to_bytes(2, "big") + message[4:]
    header = bytes((0x60, 0, 0, 0)) + len(message).to_bytes(2, "big") + bytes((58, 255))
    return multicast_mac(group) + mac + b"\x86\xdd" + header + source.packed + group.packed + message


def test_a_question_is_answered_with_the_interfaces_own_mac() -> None:
    asked = read(arp(1, THEIRS, "192.168.4.1", "192.168.4.10"), MINE)
    assert asked == Question(VIP, ASKER, THEIRS)
    assert isinstance(asked, Question)
    assert arp_reply(asked, MINE) == arp(2, MINE, "192.168.4.10", "192.168.4.1", THEIRS, THEIRS)


def test_a_probe_is_answered_too() -> None:
    asked = read(arp(1, THEIRS, "0.0.0.0", "192.168.4.10"), MINE)
    assert asked == Question(VIP, None, THEIRS)


def test_a_question_to_another_machine_is_not_ours() -> None:
    assert read(arp(1, THEIRS, "192.168.4.1", "192.168.4.10", to=bytes.fromhex("020000000009")), MINE) is None
    assert read(arp(1, THEIRS, "192.168.4.1", "192.168.4.10", to=MINE), MINE) is not None


@pytest.mark.parametrize("sender", [BROADCAST, bytes(6), bytes.fromhex("01005e000001")])
def test_a_sender_that_cannot_be_is_not_answered(sender: bytes) -> None:
    frame = arp(1, THEIRS, "192.168.4.1", "192.168.4.10")
    assert read(frame[:22] + sender + frame[28:], MINE) is None


def test_claims_are_told_from_questions() -> None:
    assert read(arp(2, THEIRS, "192.168.4.10", "192.168.4.1", to=MINE), MINE) == Claim(VIP, THEIRS)
    assert read(arp(1, THEIRS, "192.168.4.10", "192.168.4.10"), MINE) == Claim(VIP, THEIRS)
    for frame in arp_announcements(VIP, THEIRS):
        assert read(frame, MINE) == Claim(VIP, THEIRS)
        assert read(frame, THEIRS) is None, "one's own frames say nothing new"


def test_a_solicitation_and_its_answer() -> None:
    asked = read(solicitation(VIP6), MINE)
    assert asked == Question(VIP6, ASKER6, THEIRS)
    assert isinstance(asked, Question)
    said = advertisement(VIP6, MINE, OWN6, asked)
    assert said[:14] == THEIRS + MINE + b"\x86\xdd"
    assert said[20:22] == bytes((58, 255))
    assert (said[22:38], said[38:54]) == (OWN6.packed, ASKER6.packed)
    assert said[54] == 136
    assert said[58] & 0xE0 == 0x40, "solicited"
    assert said[62:] == VIP6.packed + bytes((2, 1)) + MINE


def test_the_sum_of_an_advertisement_is_right() -> None:
    said = advertisement(VIP6, MINE, OWN6)
    assert (said[:6], said[38:54]) == (multicast_mac(ALL_NODES), ALL_NODES.packed)
    assert said[58] & 0xE0 == 0x20, "override"
    message = said[54:]
    whole = said[22:54] + len(message).to_bytes(4, "big") + bytes((0, 0, 0, 58)) + message
    total = sum(int.from_bytes(whole[i : i + 2], "big") for i in range(0, len(whole), 2))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def test_a_probe_for_an_address_is_answered_to_all() -> None:
    asked = read(solicitation(VIP6, IPv6Address("::")), MINE)
    assert asked == Question(VIP6, None, multicast_mac(ALL_NODES))


def test_a_solicitation_that_was_routed_or_broken_is_not_believed() -> None:
    good = solicitation(VIP6)
    assert read(good[:21] + bytes((64,)) + good[22:], MINE) is None
    assert read(good[:57] + bytes((good[57] ^ 1,)) + good[58:], MINE) is None
    assert read(good[:-1], MINE) is None


def test_groups() -> None:
    assert solicited_group(IPv6Address("fd00::1:2345:6789")) == IPv6Address("ff02::1:ff45:6789")


@given(st.binary(max_size=120))
def test_no_bytes_are_too_strange(frame: bytes) -> None:
    read(frame, MINE)
    read(BROADCAST + THEIRS + b"\x08\x06" + frame, MINE)
    read(BROADCAST + THEIRS + b"\x86\xdd" + frame, MINE)
