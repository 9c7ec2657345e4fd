"""When a CronJob is due: gaps, zones whose clocks change, what was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from clusterip.api.cron import parse
from clusterip.controllers.cronjob_times import Due, NeverDue, due, next_after, seconds_to_next

NEW_YORK = ZoneInfo("America/New_York")


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "moment", "wanted"),
    [
        ("*/5 * * * *", UTC, "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
        ("0 9 * * *", NEW_YORK, "2026-01-01T00:00:00", "2026-01-01T14:00:00"),
        ("0 9 * * *", NEW_YORK, "2026-07-01T00:00:00", "2026-07-01T13:00:00"),
        # clocks go forward on 8 March 2026 at 07:00 UTC, back on 1 November 2026 at 06:00 UTC
        ("30 2 * * *", NEW_YORK, "2026-03-08T05:00:00", "2026-03-09T06:30:00"),
        ("0 3 * * *", NEW_YORK, "2026-03-08T05:00:00", "2026-03-08T07:00:00"),
        ("0 * * * *", NEW_YORK, "2026-11-01T05:00:00", "2026-11-01T06:00:00"),
        ("0 * * * *", NEW_YORK, "2026-11-01T06:00:00", "2026-11-01T07:00:00"),
        ("0 0 1 1 *", NEW_YORK, "2026-02-01T00:00:00", "2027-01-01T05:00:00"),
        ("@every 90s", UTC, "2026-01-01T00:00:00", "2026-01-01T00:01:30"),
    ],
)
def test_next(schedule, zone, moment, wanted):
    assert next_after(parse(schedule), at(moment), zone) == at(wanted)


def test_a_day_that_never_comes():
    with pytest.raises(NeverDue):
        next_after(parse("0 0 31 2 *"), at("2026-01-01T00:00:00"), UTC)


@pytest.mark.parametrize(
    ("schedule", "minutes", "last", "missed"),
    [("0 * * * *", 59, None, 0), ("0 * * * *", 60, 60, 1), ("0 * * * *", 150, 120, 2), ("* * * * *", 600, 600, 600)],
)
def test_missed(schedule, minutes, last, missed):
    since = at("2026-01-01T00:00:00")
    found = due(parse(schedule), UTC, since, since + timedelta(minutes=minutes))
    assert found == Due(since, None if last is None else since + timedelta(minutes=last), missed)


def test_seconds_to_next():
    since = at("2026-01-01T00:00:00")
    assert seconds_to_next(parse("0 * * * *"), UTC, since, since + timedelta(minutes=150)) == 1800
    assert seconds_to_next(parse("0 * * * *"), UTC, since, since + timedelta(minutes=50)) == 600
