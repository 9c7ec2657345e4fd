"""Schedules as cron writes them: what is wrong with one, and the next time that it means.

Stage: none; pure.  In: five fields, or @hourly and its like, `@every 1h30m`; a time zone by name.
Out: a Schedule; CronError in upstream's words.  Times carry their zone.
Truth: crontab(5); robfig/cron v3's standard parser, whose texts these are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTHS = {name: number for number, name in enumerate(MONTH_NAMES, 1)}
DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, MONTHS),
    ("weekday", 0, 6, DAYS),
)
DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
UNITS = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(\d+)([hms])")
LONGEST_SEARCH = timedelta(days=5 * 366)


class CronError(ValueError):
    """A text is no schedule."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due: sets of numbers by field, or an interval."""

    numbers: tuple[frozenset[int], ...] = ()
    any_day: bool = True
    any_weekday: bool = True
    every: timedelta = timedelta()

    def after(self, moment: datetime) -> datetime | None:
        """The first time after a moment, in the moment's zone; None when there is none within five years."""
        if self.every:
            return moment.replace(microsecond=0) + self.every
        found = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        limit = moment + LONGEST_SEARCH
        while found <= limit:
            later = self._missed(found)
            if later is None:
                return found
            found = later
        return None

    def _missed(self, moment: datetime) -> datetime | None:
        """Where to look next when a moment is not meant: the next month, day, hour or minute."""
        minutes, hours, _, months, _ = self.numbers
        if moment.month not in months:
            first = moment.replace(day=1, hour=0, minute=0)
            return (first + timedelta(days=32)).replace(day=1)
        if not self._is_day(moment):
            return moment.replace(hour=0, minute=0) + timedelta(days=1)
        if moment.hour not in hours:
            return moment.replace(minute=0) + timedelta(hours=1)
        return None if moment.minute in minutes else moment + timedelta(minutes=1)

    def _is_day(self, moment: datetime) -> bool:
        """Day and weekday both count when one of them is open, else either is enough."""
        day = moment.day in self.numbers[2]
        weekday = moment.isoweekday() % 7 in self.numbers[4]
        return day and weekday if self.any_day or self.any_weekday else day or weekday


def parse(text: str) -> Schedule:
    """A schedule; CronError when it is none."""
    if not text:
        raise CronError("empty spec string")
    if text.startswith("@every "):
        return Schedule(every=_interval(text))
    if text.startswith("@"):
        if text not in DESCRIPTORS:
            raise CronError(f"unrecognized descriptor: {text}")
        text = DESCRIPTORS[text]
    words = text.split()
    if len(words) != len(FIELDS):
        raise CronError(f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]")
    numbers = tuple(_field(word, *field[1:]) for word, field in zip(words, FIELDS, strict=True))
    return Schedule(numbers, words[2][0] in "*?", words[4][0] in "*?")


def _interval(text: str) -> timedelta:
    duration = text.removeprefix("@every ")
    found = list(_DURATION.finditer(duration))
    if not found or "".join(part[0] for part in found) != duration:
        raise CronError(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    return timedelta(seconds=max(1, sum(int(part[1]) * UNITS[part[2]] for part in found)))


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    """`1-5,10/2,*` as numbers."""
    return frozenset(number for part in text.split(",") if part for number in _range(part, low, high, names))


def _range(text: str, low: int, high: int, names: dict[str, int]) -> range:
    span, slash, step_text = text.partition("/")
    if "/" in step_text:
        raise CronError(f"too many slashes: {text}")
    first_text, dash, last_text = span.partition("-")
    if "-" in last_text:
        raise CronError(f"too many hyphens: {text}")
    if first_text in ("*", "?") and not dash:
        first, last = low, high
    else:
        first = _number(first_text, names)
        last = _number(last_text, names) if dash else high if slash else first
    step = _number(step_text, {}) if slash else 1
    return _checked(first, last, step, text, low, high)


def _checked(first: int, last: int, step: int, text: str, low: int, high: int) -> range:
    if first < low:
        raise CronError(f"beginning of range ({first}) below minimum ({low}): {text}")
    if last > high:
        raise CronError(f"end of range ({last}) above maximum ({high}): {text}")
    if first > last:
        raise CronError(f"beginning of range ({first}) beyond end of range ({last}): {text}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {text}")
    return range(first, last + 1, step)


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    try:
        found = int(text)
    except ValueError:
        raise CronError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax') from None
    if found < 0:
        raise CronError(f"negative number ({found}) not allowed: {text}")
    return found
