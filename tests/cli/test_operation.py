"""How an API server is run, as arguments say it."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

import pytest

from clusterip.cli import operation
from clusterip.failure import Failure

POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    operation.add_arguments(parser)
    parser.add_argument("--output", default="text")
    return parser.parse_args(words)


def test_without_arguments_it_is_as_upstream_runs_it() -> None:
    usual = operation.operation_of(parsed())
    assert (usual.reading, usual.writing, usual.fair, usual.log) == (400, 200, True, None)


def test_an_audit_log_is_open(tmp_path: Path) -> None:
    (tmp_path / "policy").write_text(POLICY)
    words = ("--audit-policy-file", str(tmp_path / "policy"), "--audit-log-path", str(tmp_path / "log"))
    made = operation.operation_of(parsed(*words, "--audit-log-maxsize", "7"))
    assert made.log is not None
    assert made.log.keeping.megabytes == 7
    made.log.close()
    assert (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--max-requests-inflight", "-1"], "--max-requests-inflight -1"),
        (["--audit-log-path", "x"], "needs an --audit-policy-file"),
        (["--audit-log-path", "-", "--audit-policy-file", "p", "--output", "json"], "one line of -o json"),
        (["--audit-log-path", "x", "--audit-policy-file", "/none"], "No such file"),
    ],
)
def test_what_cannot_be_is_said(words: list[str], why: str) -> None:
    with pytest.raises(Failure, match=why):
        operation.operation_of(parsed(*words))


def test_a_parent_that_is_none_is_said() -> None:
    async def body() -> None:
        operation.follow_parent(parsed(), lambda: None)
        operation.follow_parent(parsed("--exit-with-parent", str(os.getppid())), lambda: None)
        with pytest.raises(Failure, match="not the process that started this"):
            operation.follow_parent(parsed("--exit-with-parent", str(os.getpid())), lambda: None)

    asyncio.run(body())
