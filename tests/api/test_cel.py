"""Expressions: compiled, refused, asked."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api import cel
from clusterip.api.cel import CelError

SELF = (("self", "DYN"),)


def ask(text: str, value: Any = None) -> Any:
    return cel.compiled(text, SELF, "BOOL").ask({"self": value})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("self.a > 3 && has(self.b) && !has(self.c)", {"a": 4, "b": "x"}),
        ("self.all(x, x.size() < 4) && self.exists(x, x.matches('^b'))", ["a", "bcd"]),
        ("self.?c.orValue(3) == 3", {}),
        ("self.upperAscii() == 'ABC' && self.indexOf('b') == 1", "abc"),
    ],
)
def test_the_language(text: str, value: Any) -> None:
    assert ask(text, value) is True


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("self.a +", "compilation failed: ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>'"),
        (
            "foo(1)",
            "compilation failed: ERROR: <input>:1:4: undeclared reference to 'foo' (in container '')\n | foo(1)\n",
        ),
        ("1 + 'a' == 2", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("1 + 1", "must evaluate to a bool"),
    ],
)
def test_what_cannot_be(text: str, why: str) -> None:
    with pytest.raises(CelError) as caught:
        cel.compiled(text, SELF, "BOOL")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"), [("self.a == 1", "no such key: a"), ("1 / (size(self)) == 1", "division by zero")]
)
def test_what_fails(text: str, why: str) -> None:
    with pytest.raises(CelError, match=why):
        ask(text, {})


def test_names() -> None:
    assert cel.names_in("self.oldSelf == 'oldSelf' && x > oldSelf2") == {"self", "x", "oldSelf2"}
