"""Conditions in CEL."""

from __future__ import annotations

import pytest

from clusterip.apiserver.webhooks_conditions import ConditionError, hold

REQUEST = {
    "operation": "DELETE",
    "userInfo": {"username": "alice", "groups": ["a"]},
    "object": None,
    "oldObject": {"metadata": {"name": "x", "labels": {}}},
}


@pytest.mark.parametrize(
    ("texts", "yes"),
    [
        (["request.operation == 'DELETE'", "object == null"], True),
        (["request.userInfo.username.startsWith('system:')"], False),
        (["!('a' in request.userInfo.groups)"], False),
        (["oldObject.metadata.labels.a == 'b'", "false"], False),
        (["!has(oldObject.metadata.labels.a)"], True),
    ],
)
def test_conditions(texts: list[str], yes: bool) -> None:
    assert hold([{"name": "c", "expression": text} for text in texts], REQUEST) is yes


def test_one_that_fails() -> None:
    text = "oldObject.metadata.labels.a == 'b'"
    with pytest.raises(ConditionError) as caught:
        hold([{"name": "c", "expression": text}, {"name": "d", "expression": "true"}], REQUEST)
    assert str(caught.value) == f"expression '{text}' resulted in error: no such key: a"
