"""etcd's v3 messages as bytes: those few fields of rpc.proto and kv.proto that a store needs.

Stage: wire; pure.  In: values.  Out: protobuf bytes, and back; fields that are not known are skipped.
Truth: etcd's api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto (field numbers, the same in 3.4 to 3.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clusterip.api.protobuf_wire import BYTES, FIXED32, FIXED64, VARINT, block, word

EQUAL, MOD = 0, 2  # Compare.CompareResult, Compare.CompareTarget

Field = tuple[int, int | bytes]


@dataclass(frozen=True, slots=True)
class Kept:
    """A key of etcd as it was at a revision of etcd's."""

    key: bytes
    value: bytes
    modified: int
    made: int = 0
    """The revision at which it came to be."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a range: the revision that it was read at, the keys, and whether more follow."""

    revision: int
    kept: list[Kept]
    more: bool


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to a transaction: whether its comparison held, its revision, and what its first range found."""

    succeeded: bool
    revision: int
    found: list[Kept]


@dataclass(frozen=True, slots=True)
class Noticed:
    """One message of a watch; `compacted` is set when what was asked for is gone."""

    revision: int
    created: bool
    canceled: bool
    compacted: int
    reason: str
    part: bool  # the rest of the same revision follows
    events: list[tuple[bool, Kept]]
    """(deleted, key)"""


# --- writing ---------------------------------------------------------------------------------------------------------


def message(*fields: tuple[int, int | bytes | bool]) -> bytes:
    """Fields by their numbers; what is zero or empty is left out, as proto3 does, but for messages (see `inner`)."""
    parts = []
    for number, value in fields:
        if isinstance(value, bytes):
            if value:
                parts.append(block(number, value))
        elif value:
            parts.append(word(number, int(value)))
    return b"".join(parts)


def inner(number: int, content: bytes) -> bytes:
    """A message within another: there even when it is empty."""
    return block(number, content)


def range_request(
    first: bytes, end: bytes = b"", *, limit: int = 0, revision: int = 0, keys_only: bool = False
) -> bytes:
    return message((1, first), (2, end), (3, limit), (4, revision), (8, keys_only))


def put_request(key: bytes, value: bytes) -> bytes:
    return message((1, key), (2, value))


def delete_request(first: bytes, end: bytes = b"") -> bytes:
    return message((1, first), (2, end))


def get_op(request: bytes) -> bytes:
    return inner(1, request)


def put_op(request: bytes) -> bytes:
    return inner(2, request)


def delete_op(request: bytes) -> bytes:
    return inner(3, request)


def unchanged_since(key: bytes, modified: int) -> bytes:
    """A comparison: the key was last modified at a revision; 0: it is not there."""
    return message((2, MOD), (3, key)) + word(6, modified)


def transaction(compare: Iterable[bytes], success: Iterable[bytes], failure: Iterable[bytes] = ()) -> bytes:
    lists = ((1, compare), (2, success), (3, failure))
    return b"".join(inner(number, each) for number, items in lists for each in items)


def compaction(revision: int) -> bytes:
    return message((1, revision))


def watch_request(first: bytes, end: bytes, start: int) -> bytes:
    return inner(1, message((1, first), (2, end), (3, start), (4, True)))


def progress_request() -> bytes:
    return inner(3, b"")


# --- reading ---------------------------------------------------------------------------------------------------------


def fields(content: bytes) -> Iterator[Field]:
    """A message's fields in order; ValueError when the bytes are none."""
    position, end = 0, len(content)
    while position < end:
        tag, position = _varint(content, position)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, position = _varint(content, position)
            yield number, value
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(kind)
        if kind == BYTES:
            size, position = _varint(content, position)
        if size is None or position + size > end:
            raise ValueError("not a message of etcd's")
        yield number, content[position : position + size]
        position += size


def _varint(content: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    try:
        while (byte := content[position]) > 0x7F:
            number |= (byte & 0x7F) << shift
            shift += 7
            position += 1
    except IndexError:
        raise ValueError("not a message of etcd's") from None
    return number | byte << shift, position + 1


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _number(content: bytes, wanted: int) -> int:
    for number, value in fields(content):
        if number == wanted and isinstance(value, int):
            return _signed(value)
    return 0


def _whole(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("not a message of etcd's")
    return value


def _kept(content: bytes) -> Kept:
    key = value = b""
    modified = made = 0
    for number, found in fields(content):
        if number == 1:
            key = _whole(found)
        elif number == 5:
            value = _whole(found)
        elif number == 3 and isinstance(found, int):
            modified = found
        elif number == 2 and isinstance(found, int):
            made = found
    return Kept(key, value, modified, made)


def range_response(content: bytes) -> Found:
    revision, kept, more = 0, [], False
    for number, value in fields(content):
        if number == 1:
            revision = _number(_whole(value), 3)
        elif number == 2:
            kept.append(_kept(_whole(value)))
        elif number == 3:
            more = bool(value)
    return Found(revision, kept, more)


def transaction_response(content: bytes) -> Done:
    succeeded, revision, found = False, 0, []
    for number, value in fields(content):
        if number == 1:
            revision = _number(_whole(value), 3)
        elif number == 2:
            succeeded = bool(value)
        elif number == 3:
            for kind, answer in fields(_whole(value)):
                if kind == 1:
                    found += range_response(_whole(answer)).kept
    return Done(succeeded, revision, found)


def watch_response(content: bytes) -> Noticed:
    revision = compacted = 0
    created = canceled = part = False
    reason = ""
    events: list[tuple[bool, Kept]] = []
    for number, value in fields(content):
        if number == 1:
            revision = _number(_whole(value), 3)
        elif number == 3:
            created = bool(value)
        elif number == 4:
            canceled = bool(value)
        elif number == 5 and isinstance(value, int):
            compacted = value
        elif number == 6:
            reason = _whole(value).decode(errors="replace")
        elif number == 7:
            part = bool(value)
        elif number == 11:
            events.append(_event(_whole(value)))
    return Noticed(revision, created, canceled, compacted, reason, part, events)


def _event(content: bytes) -> tuple[bool, Kept]:
    deleted, kept = False, Kept(b"", b"", 0)
    for number, value in fields(content):
        if number == 1:
            deleted = bool(value)
        elif number == 2:
            kept = _kept(_whole(value))
    return deleted, kept


def status_response(content: bytes) -> str:
    """The version of the server that answered."""
    return next((_whole(value).decode() for number, value in fields(content) if number == 2), "")
