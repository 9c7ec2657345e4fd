"""Ages, selectors and lists as kubectl shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clusterip.api import tables
from clusterip.api.resources import RESOURCES

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1.5, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (10 * MINUTE + 5, "10m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 90, "3h1m"),
        (8 * HOUR + 90, "8h"),
        (47 * HOUR, "47h"),
        (48 * HOUR, "2d"),
        (50 * HOUR, "2d2h"),
        (8 * DAY + HOUR, "8d"),
        (729 * DAY, "729d"),
        (2 * YEAR, "2y"),
        (2 * YEAR + DAY, "2y1d"),
        (9 * YEAR + 5 * DAY, "9y"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert tables.human_duration(seconds) == text


def test_ages() -> None:
    born = (NOW - timedelta(seconds=65)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert tables.age({"metadata": {"creationTimestamp": born}}, NOW) == "65s"
    assert tables.age({"metadata": {}}, NOW) == "<unknown>"


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        (None, "<none>"),
        ({}, "<none>"),
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        (
            {
                "matchLabels": {"z": "1"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["b", "a"]},
                    {"key": "env", "operator": "NotIn", "values": ["x"]},
                    {"key": "m", "operator": "Exists"},
                    {"key": "n", "operator": "DoesNotExist"},
                ],
            },
            "env notin (x),m,!n,tier in (a,b),z=1",
        ),
    ],
)
def test_selectors(selector: dict[str, object] | None, text: str) -> None:
    assert tables.selector_text(selector) == text


def test_lists_end_after_three() -> None:
    assert tables.with_more(["a", "b", "c"]) == "a,b,c"
    assert tables.with_more("abcde") == "a,b,c + 2 more..."
    assert tables.with_more([]) == ""


def test_every_column_says_what_it_is() -> None:
    for resource in RESOURCES:
        for column in resource.columns:
            unsaid = ("", "Handler")  # a cell without a column, and one that upstream does not describe
            assert column.description or column.name in unsaid, (resource.kind, column.name)
