"""etcd's messages: what is written is read again, what is unknown is skipped, garbage is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.store import etcdwire as wire


@given(number=st.integers(0, 2**63 - 1))
def test_numbers_of_any_size(number: int) -> None:
    assert list(wire.fields(wire.message((3, number)))) == ([(3, number)] if number else [])


def test_a_range_answer() -> None:
    kept = wire.message((1, b"/a"), (2, 5), (3, 7), (4, 2), (5, b"value"))
    header = wire.message((1, 99), (3, 12))
    answer = wire.inner(1, header) + wire.inner(2, kept) + wire.message((3, True), (4, 10), (99, b"later"))
    assert wire.range_response(answer) == wire.Found(12, [wire.Kept(b"/a", b"value", 7, 5)], True)


def test_a_transaction_answer() -> None:
    found = wire.inner(2, wire.message((1, b"/head"), (3, 4), (5, b"x")))
    answer = wire.inner(1, wire.message((3, 9))) + wire.inner(3, wire.inner(1, found))
    assert wire.transaction_response(answer) == wire.Done(False, 9, [wire.Kept(b"/head", b"x", 4)])


def test_a_watch_answer() -> None:
    put = wire.inner(2, wire.message((1, b"/a"), (3, 4), (5, b"x")))
    gone = wire.message((1, 1)) + wire.inner(2, wire.message((1, b"/b"), (3, 5)))
    answer = wire.inner(1, wire.message((3, 5))) + wire.inner(11, put) + wire.inner(11, gone)
    notice = wire.watch_response(answer)
    assert notice.events == [(False, wire.Kept(b"/a", b"x", 4)), (True, wire.Kept(b"/b", b"", 5))]
    lost = wire.watch_response(wire.message((4, True), (5, 17), (6, b"mvcc: required revision has been compacted")))
    assert (lost.canceled, lost.compacted) == (True, 17)


def test_an_empty_message_is_there() -> None:
    assert wire.progress_request() == b"\x1a\x00"
    assert wire.unchanged_since(b"k", 0).endswith(b"\x30\x00")


@pytest.mark.parametrize("garbage", [b"\x0a\x7fshort", b"\x0a\xff", b"\x0b\x00", b"\xff\xff"])
def test_what_is_no_message_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="not a message"):
        list(wire.fields(garbage))


@given(garbage=st.binary(max_size=60))
def test_garbage_never_harms(garbage: bytes) -> None:
    for read in (wire.range_response, wire.transaction_response, wire.watch_response, wire.status_response):
        try:
            read(garbage)
        except ValueError:
            continue
