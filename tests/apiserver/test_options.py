"""Parameters, read as Go reads them."""

from __future__ import annotations

import pytest

from clusterip.api.errors import ApiError
from clusterip.apiserver import options


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", ""),
        ("0", ""),
        ("1s", ""),
        ("-1.5h30m", ""),
        ("1", 'missing unit in duration "1"'),
        ("x", 'invalid duration "x"'),
        ("1q", 'unknown unit "q" in duration "1q"'),
    ],
)
def test_durations(text: str, fault: str) -> None:
    assert options.duration_fault(text) == fault


def test_only_false_and_zero_are_false() -> None:
    said = {text: options.flag({"watch": text}, "watch") for text in ("false", "FALSE", "0", "1", "x", "")}
    assert said == {"false": False, "FALSE": False, "0": False, "1": True, "x": True, "": True}
    assert options.flag({}, "watch") is None


def test_numbers() -> None:
    assert options.integer({"limit": "-3"}, "limit") == -3
    assert options.integer({}, "limit") is None
    with pytest.raises(ApiError, match=r'strconv\.ParseInt: parsing "x": invalid syntax'):
        options.integer({"limit": "x"}, "limit")


def test_what_contradicts_itself_is_told() -> None:
    assert [str(e) for e in options.delete_problems("Orphan", True, ["All"])] == [
        'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set'
    ]
    assert [str(e) for e in options.write_problems({"fieldManager": "a\u0001"}, ["All", "X"], "PatchOptions")] == [
        'fieldManager: Invalid value: "a\\x01": invalid character U+0001 (at position 1)',
        'dryRun: Unsupported value: ["All","X"]: supported values: "All"',
    ]
    assert options.watch_problems({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}) == []
