"""What calls cost by the sizes of what they are asked of."""

from __future__ import annotations

import pytest

from clusterip.api.cel_calls import MOST, Asked, Price, Size, priced
from clusterip.api.cel_cost import Found
from clusterip.api.cel_sizes import Declared


def part(size: Size | None, kind: str = "string", item: str = "") -> Found:
    return Found(0, Declared(kind, item=Declared(item) if item else None), ("self", "x"), size)


def call(function: str, target: Found | None, *arguments: Found, overload: str = "any") -> Price:
    return priced(Asked(function, (overload,), target, arguments), lambda path: 20 if path[-1] == "@items" else None)


@pytest.mark.parametrize(
    ("price", "function", "target", "arguments"),
    [
        ((1, None), "unknown", part((0, 100)), []),
        ((10, (0, 100)), "trim", part((0, 100)), []),
        ((MOST // 10 + 1, None), "isIP", None, [part(None)]),
        ((10, None), "max", part((0, 10), "list", "int"), []),
        ((30, None), "max", part((0, 10), "list", "string"), []),
        ((21, (0, 209)), "join", part((0, 10), "list", "string"), [part((1, 1))]),
        ((20, (0, 300)), "replace", part((0, 100)), [part((1, 1)), part((3, 3))]),
        ((20, (3, 403)), "replace", part((0, 100)), [part((0, 0)), part((3, 3))]),
        ((20, (0, 100)), "replace", part((0, 100)), [part((3, 3)), part((1, 1))]),
        ((1, None), "_==_", None, [part(None, "ip"), part(None, "ip")]),
        ((41, None), "sets.equivalent", None, [part((0, 10), "list"), part((2, 2), "list")]),
    ],
)
def test_calls(price: tuple[float, Size | None], function: str, target: Found | None, arguments: list[Found]) -> None:
    found, size = call(function, target, *arguments)
    assert found == pytest.approx(price[0])
    assert size == price[1]


def test_of_several_overloads_the_dearest_counts() -> None:
    asked = Asked("_+_", ("add_int64", "add_string"), None, [part((0, 50)), part((0, 50))])
    assert priced(asked, lambda path: None) == (10, (0, 100))
    assert priced(Asked("gone", (), None, []), lambda path: None) == (0, None)
