import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api.times import TimeError, micro_time_text, parse, time_text
from clusterip.clock import rfc3339, rfc3339_micro


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.999Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
        ("2024-02-29T23:59:59-00:30", "2024-03-01T00:29:59Z"),
        ("0999-01-31T00:00:00Z", "0999-01-31T00:00:00Z"),
    ],
)
def test_times_have_seconds_and_are_in_utc(text, want):
    assert time_text(text) == want


def test_micro_times_have_six_digits():
    assert micro_time_text("2026-01-02T03:04:05.123456+01:00") == "2026-01-02T02:04:05.123456Z"
    with pytest.raises(TimeError, match=r'cannot parse "Z" as ".000000"'):
        micro_time_text("2026-01-02T03:04:05Z")


# Go's own words.
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", 'parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006"'),
        ("2026", 'parsing time "2026" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "-"'),
        ("2026-1-2", 'parsing time "2026-1-2" as "2006-01-02T15:04:05Z07:00": cannot parse "1-2" as "01"'),
        ("2026-01-02", 'parsing time "2026-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'),
        ("2026-13-02T00:00:00Z", 'parsing time "2026-13-02T00:00:00Z": month out of range'),
        ("2026-02-30T00:00:00Z", 'parsing time "2026-02-30T00:00:00Z": day out of range'),
        ("2026-01-02T24:00:00Z", 'parsing time "2026-01-02T24:00:00Z": hour out of range'),
        ("2026-01-02T00:00:00Zx", 'parsing time "2026-01-02T00:00:00Zx": extra text: "x"'),
        (
            "2026-01-02T00:00:00",
            'parsing time "2026-01-02T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"',
        ),
    ],
)
def test_what_is_no_time(text, error):
    with pytest.raises(TimeError) as raised:
        time_text(text)
    assert str(raised.value) == error


@given(st.datetimes())
def test_every_moment_is_read_as_it_was_written(moment):
    from datetime import UTC

    moment = moment.replace(tzinfo=UTC)
    written = rfc3339_micro(moment).rjust(27, "0")
    assert parse(written) == moment
    assert micro_time_text(written) == written
    assert time_text(rfc3339(moment).rjust(20, "0")) == written[:19] + "Z"


@given(st.text(max_size=30))
def test_no_text_breaks_the_parser(text):
    with contextlib.suppress(TimeError):
        time_text(text)
