"""People get indented JSON, programs do not."""

from __future__ import annotations

import pytest

from clusterip.apiserver.indent import indented, is_wanted
from clusterip.transport.answers import Response


@pytest.mark.parametrize(
    ("query", "agent", "wanted"),
    [
        ({}, "curl/7.88.1", True),
        ({}, "Wget/1.21", True),
        ({}, "Mozilla/5.0 (X11)", True),
        ({}, "kubectl/v1.36.2", False),
        ({"pretty": "true"}, "kubectl/v1.36.2", True),
        ({"pretty": "false"}, "curl/7.88.1", False),
        ({"pretty": ""}, "curl/7.88.1", True),
    ],
)
def test_who_wants_it(query: dict[str, str], agent: str, wanted: bool) -> None:
    assert is_wanted(query, agent) is wanted


def test_json_is_indented_and_nothing_else() -> None:
    given = Response(201, b'{"a":{"b":1}}', "application/json", (("Warning", "x"),))
    assert indented(given) == Response(201, b'{\n  "a": {\n    "b": 1\n  }\n}', "application/json", (("Warning", "x"),))
    text = Response(200, b"ok", "text/plain")
    assert indented(text) is text
