"""Times as Go reads and writes them in JSON.

Stage: none; values.  In: texts.  Out: the one text that upstream writes for them.
Rules: pure.  Seconds for Time, microseconds for MicroTime; always UTC.
Truth: Go's time.Parse of RFC 3339 and apimachinery's meta/v1 Time and MicroTime.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

SECONDS = "2006-01-02T15:04:05Z07:00"
MICROSECONDS = "2006-01-02T15:04:05.000000Z07:00"

USUAL = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII
).fullmatch
USUAL_MICRO = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6}Z", re.ASCII
).fullmatch

# What Go expects next, and how its error names it.
PIECES = (
    ("2006", r"\d{4}"),
    ("-", "-"),
    ("01", r"\d\d"),
    ("-", "-"),
    ("02", r"\d\d"),
    ("T", "T"),
    ("15", r"\d\d?"),
    (":", ":"),
    ("04", r"\d\d"),
    (":", ":"),
    ("05", r"\d\d"),
)
FRACTION = re.compile(r"[.,]\d+", re.ASCII)
ZONE = re.compile(r"Z|[+-]\d\d:\d\d", re.ASCII)


class TimeError(ValueError):
    """A text that is no time; its message is Go's."""


def time_text(text: str) -> str:
    """metav1.Time: seconds."""
    if USUAL(text):
        return text
    return parse(text, SECONDS).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)


def micro_time_text(text: str) -> str:
    """metav1.MicroTime: microseconds; upstream takes no other number of digits."""
    if USUAL_MICRO(text):
        return text
    return parse(text, MICROSECONDS).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


def parse(text: str, layout: str = SECONDS) -> datetime:
    """The moment, in UTC; TimeError when it is none."""
    rest, found = text, []
    for name, pattern in PIECES:
        match = re.match(pattern, rest, re.ASCII)
        if match is None:
            raise _cannot(text, layout, rest, name)
        found.append(match[0])
        rest = rest[match.end() :]
    fraction, rest = _fraction(text, rest, layout)
    zone = ZONE.match(rest)
    if zone is None:
        raise _cannot(text, layout, rest, "Z07:00")
    if rest[zone.end() :]:
        raise TimeError(f"parsing time {_q(text)}: extra text: {_q(rest[zone.end() :])}")
    return _moment(text, [int(piece) for piece in found[::2]], fraction, zone[0])


def _fraction(text: str, rest: str, layout: str) -> tuple[int, str]:
    """Microseconds, and what follows; a layout with a fraction wants exactly its digits."""
    match = FRACTION.match(rest)
    if layout == MICROSECONDS and (match is None or match.end() != 7):
        raise _cannot(text, layout, rest, ".000000")
    if match is None:
        return 0, rest
    return int(match[0][1:7].ljust(6, "0")), rest[match.end() :]


RANGES = ((1, 1, 12, "month"), (3, 0, 23, "hour"), (4, 0, 59, "minute"), (5, 0, 59, "second"))


def _moment(text: str, numbers: list[int], microseconds: int, zone: str) -> datetime:
    for index, low, high, what in RANGES:
        if not low <= numbers[index] <= high:
            raise TimeError(f"parsing time {_q(text)}: {what} out of range")
    offset = timedelta(0)
    if zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
    try:
        year, month, day, hour, minute, second = numbers
        return datetime(year, month, day, hour, minute, second, microseconds, timezone(offset)).astimezone(UTC)
    except ValueError:
        raise TimeError(f"parsing time {_q(text)}: day out of range") from None
    except OverflowError:
        raise TimeError(f"parsing time {_q(text)}: year out of range") from None


def _cannot(text: str, layout: str, rest: str, piece: str) -> TimeError:
    return TimeError(f"parsing time {_q(text)} as {_q(layout)}: cannot parse {_q(rest)} as {_q(piece)}")


def _q(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
