"""When a CronJob is due: the last time that was missed, and the next one.

Stage: plan.  In: a schedule, a zone, moments.  Out: moments, in UTC.
Rules: pure; a time that the zone skips is not due, one that it has twice is due twice.
Truth: batch/v1, kube-controller-manager's cronjob controller, robfig/cron v3 (how it walks over changes of the clock).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from clusterip.api.cron import Schedule

MANY = 100  # missed times, of which a person should know
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """since: from when times count; last: the last missed one; missed: about how many there were."""

    since: datetime
    last: datetime | None = None
    missed: int = 0


class NeverDue(ValueError):
    """A schedule that no calendar meets."""


def next_after(schedule: Schedule, moment: datetime, zone: tzinfo) -> datetime:
    """The first time after a moment. Wall clocks are trusted only between two changes of the zone's offset."""
    start = moment  # from here on the offset is what it is
    while True:
        found = schedule.after(moment.astimezone(timezone(_offset(zone, start))))
        if found is None:
            raise NeverDue("there is no such time within five years")
        change = _first_change(zone, start, found)
        if change is None:
            return found.astimezone(UTC)
        moment, start = change - SECOND, change


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _first_change(zone: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """The first second after start, up to end, at which the zone has another offset than at start."""
    before, offset = start.astimezone(UTC).replace(microsecond=0), _offset(zone, start)
    end = end.astimezone(UTC)
    while before < end:
        after = min(before + DAY, end)
        if _offset(zone, after) != offset:
            while after - before > SECOND:
                middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
                before, after = (middle, after) if _offset(zone, middle) == offset else (before, middle)
            return after
        before = after
    return None


def due(schedule: Schedule, zone: tzinfo, since: datetime, now: datetime) -> Due:
    """What was missed since a moment. Only regular gaps are counted exactly: nobody walks through years."""
    first = next_after(schedule, since, zone)
    if now < first:
        return Due(since)
    second = next_after(schedule, first, zone)
    if now < second:
        return Due(since, first, 1)
    gap = int((second - first).total_seconds())
    if gap < 1:
        raise NeverDue("time difference between two schedules is less than 1 second")
    missed = int((now - first).total_seconds()) // gap + 1
    last, moment = None, next_after(schedule, first + timedelta(seconds=(missed - 2) * gap), zone)
    while moment <= now:
        last, moment = moment, next_after(schedule, moment, zone)
    return Due(since, last, missed)


def seconds_to_next(schedule: Schedule, zone: tzinfo, since: datetime, now: datetime) -> float:
    """Until the schedule is met again."""
    try:
        found = due(schedule, zone, since, now)
        start = found.last or (now if found.missed else found.since)
    except NeverDue:
        start = now
    return (next_after(schedule, start, zone) - now).total_seconds()
