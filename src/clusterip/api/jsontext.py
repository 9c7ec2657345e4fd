"""JSON bodies: parsed fast, faults told in Go's words, equal keys found.

Stage: edge, pure.  In: bytes.  Out: a tree, and what strict decoding refuses; JsonError with Go's text.
Rules: the usual body costs one parse and one length; only one that may have equal keys, or a fault, is looked at twice.
Truth: Go's encoding/json scanner and sigs.k8s.io/json.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from clusterip.api.errors import quoted

LONGEST_SHOWN: Final = 30
MOST_STRICT_ERRORS: Final = 100
SCANNED: Final = 64 * 1024
"""Bytes that are looked at one by one for a fault; in more of them it is found as fast as they are parsed."""


class JsonError(ValueError):
    """Bytes that are not JSON; the message is Go's."""


def parse(raw: bytes) -> Any:
    """The value; JsonError in Go's words."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        fault = syntax_fault(raw) if len(raw) <= SCANNED else rough_fault(raw)
    if fault:
        raise JsonError(fault)
    try:  # what Go takes and orjson does not: broken UTF-8, lone surrogates
        return _mended(json.loads(raw.decode("utf-8", "replace").encode("utf-8", "replace")))
    except (ValueError, OverflowError, RecursionError):
        raise JsonError("exceeded max depth") from None


def _mended(value: Any) -> Any:
    """The value with U+FFFD for halves of characters, and doubles for long numbers, as Go and orjson read them."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(inner) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    return {_mended(key): _mended(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def duplicates(raw: bytes, value: Any) -> list[str]:
    """What strict decoding says of equal keys in a body that was parsed to a value: duplicate field "spec.x"."""
    if not isinstance(value, (dict, list)) or _is_as_long(raw, value):
        return []
    found: list[str] = []
    try:
        if not _has_equal_keys(raw):
            return []
        _walk(json.loads(raw.decode("utf-8", "replace"), object_pairs_hook=_Pairs), "", found)
    except (ValueError, RecursionError):
        return []
    return list(dict.fromkeys(found))[:MOST_STRICT_ERRORS]


def in_order(raw: bytes, faults: list[str]) -> list[str]:
    """Unknown and duplicate fields as a reader of the text meets them: a duplicate where the key comes again."""
    places: dict[str, None] = {}
    try:
        _visit(json.loads(raw.decode("utf-8", "replace"), object_pairs_hook=_Pairs), "", places)
    except (ValueError, RecursionError):
        return faults
    known = {text: number for number, text in enumerate(places)}
    return sorted(faults, key=lambda fault: known.get(fault, len(known)))


def _visit(value: Any, path: str, places: dict[str, None]) -> None:
    """All that could be said of each key, in the order of the text."""
    if isinstance(value, _Pairs):
        for key, inner in value:
            place = f"{path}.{key}" if path else key
            unknown = f"unknown field {quoted(place)}"
            places.setdefault(f"duplicate field {quoted(place)}" if unknown in places else unknown)
            _visit(inner, place, places)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _visit(inner, f"{path}[{index}]", places)


def _is_as_long(raw: bytes, value: Any) -> bool:
    """A compact body without equal keys is as long as the value written again."""
    return len(orjson.dumps(value)) == len(raw.rstrip())


def _has_equal_keys(raw: bytes) -> bool:
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len(dict(pairs)) < len(pairs)

    json.loads(raw.decode("utf-8", "replace"), object_pairs_hook=look)
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object with every key it has."""


def _walk(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, inner in value:
            place = f"{path}.{key}" if path else key
            if key in seen:
                found.append(f"duplicate field {quoted(place)}")
            seen.add(key)
            _walk(inner, place, found)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _walk(inner, f"{path}[{index}]", found)


def summary(raw: bytes) -> str:
    """A body as errors show it: its beginning, in hexadecimal when it is no object."""
    if not raw:
        return "<empty>"
    head = raw[:LONGEST_SHOWN]
    text = head.decode(errors="replace") if raw[:1] == b"{" else head.hex()
    return f"{text} ..." if len(raw) > LONGEST_SHOWN else text


# --- Go's scanner ----------------------------------------------------------------------------------------------------

END: Final = "unexpected end of JSON input"
VALUE: Final = "looking for beginning of value"
KEY: Final = "looking for beginning of object key string"
WHITE: Final = re.compile(rb"[ \t\r\n]*")
STRING: Final = re.compile(rb'(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
LITERALS: Final = {b"t": b"true", b"f": b"false", b"n": b"null"}
DIGITS: Final = re.compile(rb"[0-9]*")


class _Fault(Exception):
    """Where the scanner stopped, and what it was doing."""

    def __init__(self, position: int, doing: str) -> None:
        super().__init__(doing)
        self.position = position
        self.doing = doing


def syntax_fault(raw: bytes) -> str:
    """Go's text of the first fault; empty when there is none."""
    try:
        _scan(raw)
    except _Fault as fault:
        if fault.position >= len(raw):
            return END
        return f"invalid character {_char(raw[fault.position])} {fault.doing}"
    return ""


ROUGH: Final = {
    "Expecting value": VALUE,
    "Expecting property name": KEY,
    "Illegal trailing comma": KEY,
    "Expecting ':'": "after object key",
    "Expecting ','": "after object key:value pair",
    "Extra data": "after top-level value",
    "Invalid control": "in string literal",
    "Invalid \\": "in string escape code",
}


def rough_fault(raw: bytes) -> str:
    """The same of a long text, from where Python's parser stopped: without Go's knowledge of what it was in."""
    text = raw.decode("utf-8", "replace")
    try:
        json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        doing = next((words for begin, words in ROUGH.items() if error.msg.startswith(begin)), "")
        if not doing or error.pos >= len(text):
            return END
        return f"invalid character {_char(ord(text[error.pos]))} {doing}"
    except (ValueError, RecursionError):
        return "exceeded max depth"
    return ""


def _no_constant(word: str) -> None:
    raise json.JSONDecodeError("Expecting value", word, 0)


def _char(code: int) -> str:
    if code == ord("'"):
        return "'\\''"
    return "'\"'" if code == ord('"') else f"'{quoted(chr(code))[1:-1]}'"


def _scan(raw: bytes) -> None:
    """One value and nothing after it; nesting is kept in a list, not on the stack."""
    open_: list[bytes] = []
    at = _skip(raw, 0)
    while True:
        at, opened = _value(raw, at)
        if opened:
            open_.append(opened)
            closing = b"}" if opened == b"{" else b"]"
            if raw[at : at + 1] != closing:
                at = _key(raw, at) if opened == b"{" else at
                continue
            open_.pop()
            at += 1
        at = _skip(raw, at)
        while open_ and raw[at : at + 1] == (b"}" if open_[-1] == b"{" else b"]"):
            open_.pop()
            at = _skip(raw, at + 1)
        if not open_:
            break
        is_object = open_[-1] == b"{"
        if raw[at : at + 1] != b",":
            raise _Fault(at, "after object key:value pair" if is_object else "after array element")
        at = _skip(raw, at + 1)
        at = _key(raw, at) if is_object else at
    if at < len(raw):
        raise _Fault(at, "after top-level value")


def _skip(raw: bytes, at: int) -> int:
    match = WHITE.match(raw, at)
    return match.end() if match else at


def _value(raw: bytes, at: int) -> tuple[int, bytes]:
    """Past a scalar, or past the opening of what holds more."""
    first = raw[at : at + 1]
    if first in (b"{", b"["):
        return _skip(raw, at + 1), first
    if first == b'"':
        return _string(raw, at), b""
    if first in LITERALS:
        return _literal(raw, at, LITERALS[first]), b""
    if first and first in b"-0123456789":
        return _number(raw, at), b""
    raise _Fault(at, VALUE)


def _key(raw: bytes, at: int) -> int:
    """Past a key and its colon."""
    if raw[at : at + 1] != b'"':
        raise _Fault(at, KEY)
    at = _skip(raw, _string(raw, at))
    if raw[at : at + 1] != b":":
        raise _Fault(at, "after object key")
    return _skip(raw, at + 1)


def _string(raw: bytes, at: int) -> int:
    match = STRING.match(raw, at + 1)
    end = match.end() if match else at + 1
    if raw[end : end + 1] == b'"':
        return end + 1
    if raw[end : end + 1] != b"\\":
        raise _Fault(end, "in string literal")
    if raw[end + 1 : end + 2] != b"u":
        raise _Fault(end + 1, "in string escape code")
    wrong = next((i for i in range(end + 2, end + 6) if raw[i : i + 1] not in HEX), end + 6)
    raise _Fault(wrong, "in \\u hexadecimal character escape")


HEX: Final = frozenset(bytes([code]) for code in b"0123456789abcdefABCDEF")


def _literal(raw: bytes, at: int, word: bytes) -> int:
    for offset, code in enumerate(word):
        if raw[at + offset : at + offset + 1] != bytes([code]):
            raise _Fault(at + offset, f"in literal {word.decode()} (expecting '{chr(code)}')")
    return at + len(word)


def _number(raw: bytes, at: int) -> int:
    if raw[at : at + 1] == b"-":
        at = _digits(raw, at + 1, "in numeric literal", leading_zero=True)
    else:
        at = _digits(raw, at, "in numeric literal", leading_zero=True)
    if raw[at : at + 1] == b".":
        at = _digits(raw, at + 1, "after decimal point in numeric literal")
    if raw[at : at + 1] in (b"e", b"E"):
        at += 2 if raw[at + 1 : at + 2] in (b"+", b"-") else 1
        at = _digits(raw, at, "in exponent of numeric literal")
    return at


def _digits(raw: bytes, at: int, doing: str, leading_zero: bool = False) -> int:
    if leading_zero and raw[at : at + 1] == b"0":
        return at + 1
    match = DIGITS.match(raw, at)
    if match is None or match.end() == at:
        raise _Fault(at, doing)
    return match.end()
