"""What may be asked of a log, in Kubernetes' words."""

from __future__ import annotations

import pytest

from clusterip.api.log_options import NotANumber, validate


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, []),
        ({"tailLines": "0", "limitBytes": "1", "sinceSeconds": "1", "follow": "true"}, []),
        ({"tailLines": ""}, []),
        ({"tailLines": "-1"}, ["tailLines: Invalid value: -1: must be greater than or equal to 0"]),
        ({"limitBytes": "0"}, ["limitBytes: Invalid value: 0: must be greater than 0"]),
        ({"sinceSeconds": "0"}, ["sinceSeconds: Invalid value: 0: must be greater than 0"]),
        (
            {"sinceSeconds": "1", "sinceTime": "2026-01-01T00:00:00Z"},
            [": Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"],
        ),
        ({"stream": "Stdout"}, ["stream: Forbidden: may not be specified"]),
    ],
)
def test_what_is_wrong(query: dict[str, str], words: list[str]) -> None:
    assert [str(error) for error in validate(query)] == words


def test_what_is_no_number() -> None:
    with pytest.raises(NotANumber, match='parsing "many": invalid syntax'):
        validate({"tailLines": "many"})
