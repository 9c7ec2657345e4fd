"""The channel protocol of remote commands."""

from __future__ import annotations

import pytest

from clusterip.node.channels import Ended, Input, Resized, Typed, decode, exited, failed


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (b"\0ls\n", Typed(b"ls\n")),
        (b"\0", None),
        (b"", None),
        (b'\4{"Width":80,"Height":24}', Resized(24, 80)),
        (b'\4{"Width":0,"Height":0}', None),
        (b"\4not json", None),
        (b"\4[]", None),
        (b"\xff\0", Ended()),
        (b"\xff\1", None),
        (b"\7x", None),
    ],
)
def test_what_a_client_says(message: bytes, event: Input | None) -> None:
    assert decode(message) == event


def test_the_last_word() -> None:
    assert exited(0) == {"metadata": {}, "status": "Success"}
    assert exited(3)["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert failed("no")["reason"] == "InternalError"
