"""Schedules: what they mean, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api.cron import CronError, parse

START = datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("* * * * *", "2026-02-01T00:00"),
        ("*/5 * * * *", "2026-02-01T00:00"),
        ("7 3 * * *", "2026-02-01T03:07"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 31 * *", "2026-03-31T00:00"),
        ("0 12 * * mon-fri", "2026-02-02T12:00"),
        ("0 0 13 * 5", "2026-02-06T00:00"),
        ("30 6 1 jan,jul *", "2026-07-01T06:30"),
        ("@monthly", "2026-02-01T00:00"),
        ("@every 1h30m", "2026-02-01T01:29:30"),
        ("10-20/5 * * * *", "2026-02-01T00:10"),
    ],
)
def test_the_next_time(schedule: str, due: str) -> None:
    assert parse(schedule).after(START) == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_what_never_comes() -> None:
    assert parse("0 0 30 2 *").after(START) is None


def test_times_keep_their_zone() -> None:
    zone = ZoneInfo("Europe/Berlin")
    found = parse("0 8 * * *").after(START.astimezone(zone))
    assert found is not None
    assert (found.hour, found.tzinfo) == (8, zone)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty spec string"),
        ("often", "expected exactly 5 fields, found 1: [often]"),
        ("@often", "unrecognized descriptor: @often"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
    ],
)
def test_what_is_no_schedule(text: str, reason: str) -> None:
    with pytest.raises(CronError) as caught:
        parse(text)
    assert str(caught.value) == reason


@given(st.text(alphabet="0123456789*/,-? @everydmonh", max_size=20))
def test_any_text_is_a_schedule_or_an_error(text: str) -> None:
    try:
        found = parse(text).after(START)
    except CronError:
        return
    assert found is None or found > START
