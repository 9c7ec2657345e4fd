"""Paths of columns, scale and selectable fields."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.jsonpath import PathError, parse, shown

TREE = {
    "spec": {"a": [1, {"b": "x"}], "k.l": "dotted", "m": {"p": 1, "q": 2}},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Odd", "n": 3}]},
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (".spec.a[0]", [1]),
        (".spec.a[-1].b", ["x"]),
        (".spec.a[7]", []),
        (".spec.a[*]", [1, {"b": "x"}]),
        (".spec.m.*", [1, 2]),
        (r".spec.k\.l", ["dotted"]),
        (".spec['k.l']", ["dotted"]),
        ("{.spec.m.p}", [1]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.n==3)].type", ["Odd"]),
        (".status.conditions[?(@.type!='Ready')].type", ["Odd"]),
        (".nothing.at.all", []),
        (".", [TREE]),
    ],
)
def test_what_a_path_leads_to(path: str, values: list[Any]) -> None:
    assert parse(path).values(TREE) == values


@pytest.mark.parametrize("path", ["spec", ".a[", ".a[?(x)]", ".a..b"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(PathError):
        parse(path)


def test_how_values_are_shown() -> None:
    assert [shown(value) for value in ("a", 1, True, ["x"])] == ["a", "1", "true", '["x"]']
