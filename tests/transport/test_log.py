"""klog's lines, as readers of `kubectl logs` know them."""

from __future__ import annotations

import logging
import re
import sys

import pytest

from clusterip.transport.log import KlogFormatter


def line(level: int, **more: object) -> str:
    record = logging.LogRecord("x", level, "/a/run.py", 7, "Synced %d", (3,), None)
    record.__dict__.update(created=1767323045.5, **more)
    return KlogFormatter().format(record)


@pytest.mark.parametrize(("level", "letter"), [(logging.DEBUG, "I"), (logging.WARNING, "W"), (logging.ERROR, "E")])
def test_a_line(level: int, letter: str) -> None:
    assert re.fullmatch(rf'{letter}0102 03:04:05\.500000 +\d+ run\.py:7\] Synced 3 a="b"', line(level, kv={"a": "b"}))


def test_a_trace_follows_its_line() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        text = line(logging.ERROR, exc_info=sys.exc_info())
    assert text.splitlines()[0].endswith("] Synced 3")
    assert text.endswith("ValueError: odd")
