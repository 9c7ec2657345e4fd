"""How looks are shown: on a screen, in lines, once, as JSON, or as metrics alone."""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from clusterip.cli import status, watching
from clusterip.cluster.monitoring import Monitor, Sample
from clusterip.cluster.monitoring_view import Numbers
from clusterip.failure import Failure

READINGS = Monitor().observe(Sample(datetime(2026, 1, 1, tzinfo=UTC), troubles=("the API does not answer",)))


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    status.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "terminal", "form", "once"),
    [
        (["--watch"], True, "screen", False),
        (["--watch"], False, "lines", False),
        (["--once"], False, "view", True),
        (["--watch", "--once"], True, "view", True),
        (["--watch", "-o", "json"], True, "json", False),
        (["--once", "-o", "json"], False, "json", True),
        (["--metrics", "127.0.0.1:9"], True, "", False),
        (["--metrics", "127.0.0.1:9", "--watch"], False, "lines", False),
    ],
)
def test_the_form_follows_what_was_asked(words: list[str], terminal: bool, form: str, once: bool) -> None:
    wanted = watching.wanted(parsed(*words), terminal=terminal)
    assert (wanted.form, wanted.once) == (form, once)


def test_every_form_tells_of_trouble() -> None:
    for form in ("screen", "lines", "view", "json"):
        assert "the API does not answer" in watching.text(form, "test", READINGS)
    assert json.loads(watching.text("json", "test", READINGS))["name"] == "test"
    assert watching.text("screen", "test", READINGS).startswith(watching.HOME)


@pytest.mark.parametrize("seconds", ["0", "-1", "1e9", "nan", "often"])
def test_an_interval_that_is_none_is_refused(seconds: str) -> None:
    with pytest.raises(SystemExit):
        parsed("--watch", "--interval", seconds)


def test_a_cluster_that_does_not_run_is_not_watched(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("CLUSTERIP_HOME", str(tmp_path))
    with pytest.raises(Failure, match="is not running"):
        status.run(parsed("--name", "absent", "--watch"))


def test_metrics_without_a_port_are_refused() -> None:
    async def serve() -> None:
        async with AsyncExitStack() as stack:
            await watching._serve(stack, "127.0.0.1:0", Numbers())

    with pytest.raises(Failure, match="choose a port"):
        asyncio.run(serve())
