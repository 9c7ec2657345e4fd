"""Fields that rules name."""

from __future__ import annotations

import pytest

from clusterip.api.cel_paths import is_path, undefined

INTEGER = {"type": "integer"}
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "object", "properties": {"b": INTEGER, "x-y": INTEGER, "namespace": INTEGER}},
        "m": {"type": "object", "additionalProperties": INTEGER},
        "t": {"type": "string"},
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "self.a.b == 1",
        "self.m.anything == 1",
        "self.t.size() == 1",
        "self.a.x__dash__y == self.a.__namespace__",
        "'self.nosuch' == self.t",
        "has(oldSelf.a.b)",
    ],
)
def test_what_is_there(text: str) -> None:
    assert undefined(text, SCHEMA) == ""


def test_what_is_not() -> None:
    assert undefined("self.nosuch == 1", {"type": "object", "properties": {"a": INTEGER}}) == (
        "compilation failed: ERROR: <input>:1:5: undefined field 'nosuch'\n | self.nosuch == 1\n | ....^"
    )
    found = undefined("true &&\n self.a.c", SCHEMA)
    assert found.endswith("<input>:2:8: undefined field 'c'\n |  self.a.c\n | .......^")


@pytest.mark.parametrize(
    ("path", "yes"), [(".a.b", True), (".a['x-y']", True), (".m.k", True), (".z", False), ("a", False), (" ", False)]
)
def test_field_paths(path: str, yes: bool) -> None:
    assert is_path(path, SCHEMA) is yes
