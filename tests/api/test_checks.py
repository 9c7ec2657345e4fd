"""The small checks that kinds share."""

from __future__ import annotations

import pytest

from clusterip.api import checks
from clusterip.api.meta import Tree


def test_members_have_paths() -> None:
    assert checks.each("a.b", ["x", "y"]) == [("a.b[0]", "x"), ("a.b[1]", "y")]
    assert checks.each("a", None) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "f: Required value"),
        ("", "f: Required value"),
        ("c", 'f: Unsupported value: "c": supported values: "a", "b"'),
    ],
)
def test_values_of_a_few(value: object, text: str) -> None:
    assert list(map(str, checks.supported("f", value, ("a", "b")))) == [text]


def test_ports_by_number_or_name() -> None:
    assert checks.number_or_name("f", 80) == checks.number_or_name("f", "http") == []
    assert len(checks.number_or_name("f", 0)) == len(checks.number_or_name("f", "")) - 1 == 1


SELECTORS: list[tuple[Tree, str]] = [
    ({"matchLabels": {"a b": ""}}, "f.matchLabels: Invalid value"),
    ({"matchExpressions": [{"key": "a", "operator": "In"}]}, "f.matchExpressions[0].values: Required value: must be"),
    (
        {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]},
        "f.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
    ),
    ({"matchExpressions": [{"key": "a", "operator": "Is"}]}, 'f.matchExpressions[0].operator: Invalid value: "Is"'),
    ({"matchExpressions": [{"operator": "Exists"}]}, 'f.matchExpressions[0].key: Invalid value: "": name part must be'),
    (
        {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}]},
        'f.matchExpressions[0].values[0]: Invalid value: "b c"',
    ),
]


@pytest.mark.parametrize(("selector", "text"), SELECTORS)
def test_selectors(selector: Tree, text: str) -> None:
    assert str(checks.label_selector("f", selector)[0]).startswith(text)


def test_absent_and_empty_are_the_same() -> None:
    assert checks.immutable("f", {}, None) == []
    assert checks.immutable("f", "a", "b")[0].message() == 'Invalid value: "a": field is immutable'


def test_what_selects_everything() -> None:
    assert checks.selects_everything(None)
    assert checks.selects_everything({"matchLabels": {}})
    assert not checks.selects_everything({"matchExpressions": [{"key": "a", "operator": "Exists"}]})
