"""The audit log's file: lines, old files aside, and what happens when it cannot be written."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from clusterip.apiserver import auditlog
from clusterip.apiserver.auditlog import AuditLog, Keeping
from clusterip.failure import Failure


def test_events_are_lines_of_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.log"
    log = AuditLog(Keeping(str(path)))
    log.open()
    for n in range(1500):
        log.add({"n": n})
    log.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == list(range(1500))
    assert path.stat().st_mode & 0o777 == 0o600


def test_old_files_are_put_aside_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditlog, "MEGABYTE", 100)
    path = tmp_path / "audit.log"
    for n in range(6):
        log = AuditLog(Keeping(str(path), megabytes=1, files=2))
        log.open()
        log.add({"n": n, "text": "x" * 80})
        log.close()
    assert json.loads(path.read_text())["n"] == 5
    assert len(list(tmp_path.glob("audit-*.log"))) == 2


def test_a_full_disk_costs_events_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    log = AuditLog(Keeping("/dev/full"))
    log._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with caplog.at_level(logging.ERROR):
        for n in range(5):
            log._write([{"n": n}])
    log._file.close()
    assert log.lost == 5
    assert len(caplog.records) == 1


def test_a_full_buffer_costs_events_not_time() -> None:
    log = AuditLog(Keeping("-"))
    for n in range(auditlog.BUFFER + 10):
        log.add({"n": n})
    assert log.lost == 10


def test_a_file_that_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="--audit-log-path"):
        AuditLog(Keeping(str(tmp_path))).open()
