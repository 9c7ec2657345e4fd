"""Failures of task groups are told as one line."""

from __future__ import annotations

from clusterip.failure import Failure, told


def test_failures_however_deep_are_one_line() -> None:
    deep = ExceptionGroup("", [Failure("a"), ExceptionGroup("", [Failure("b"), Failure("c")])])
    assert str(told(deep)) == "a; b; c"


def test_what_is_no_failure_is_not_hidden() -> None:
    assert told(ExceptionGroup("", [Failure("a"), ValueError("b")])) is None
    assert told(ExceptionGroup("", [ValueError("b")])) is None
