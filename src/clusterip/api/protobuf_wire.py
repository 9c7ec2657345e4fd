"""Protobuf's wire: numbers, and what has a length, as bytes.

Stage: none; pure.  In: numbers of fields, values.  Out: bytes.
Truth: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import Final

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""
WORD: Final = (1 << 64) - 1


def varint(value: int) -> bytes:
    """A number; a negative one takes ten bytes."""
    value &= WORD
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, kind: int) -> bytes:
    """What stands before a field."""
    return varint(number << 3 | kind)


def sized(raw: bytes) -> bytes:
    """Bytes behind their length."""
    return varint(len(raw)) + raw


def block(number: int, raw: bytes) -> bytes:
    """A field that has a length: text or a message."""
    return tag(number, BYTES) + sized(raw)


def word(number: int, value: int) -> bytes:
    """A field that is a number."""
    return tag(number, VARINT) + varint(value)
