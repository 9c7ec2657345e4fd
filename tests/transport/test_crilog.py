"""A part's output as container log lines."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from clusterip.transport.crilog import LONGEST, CriStream, install

NOW = datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)
STAMP = "2026-01-01T00:00:00.000005000Z"


def written(path: Path, *texts: str) -> list[str]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    stream = CriStream(fd, "stderr", lambda: NOW)
    for text in texts:
        stream.write(text)
    stream.finish()
    os.close(fd)
    return path.read_text().splitlines()


def test_lines_are_whole_however_they_come(tmp_path: Path) -> None:
    lines = written(tmp_path / "log", "one\ntw", "o\n\nhalf")
    assert lines == [f"{STAMP} stderr F one", f"{STAMP} stderr F two", f"{STAMP} stderr F ", f"{STAMP} stderr P half"]


def test_long_lines_are_cut_into_parts(tmp_path: Path) -> None:
    lines = written(tmp_path / "log", "x" * (LONGEST + 1) + "\n")
    assert [(line.split(" ")[2], len(line.split(" ")[3])) for line in lines] == [("P", LONGEST), ("F", 1)]


def test_only_when_asked_for() -> None:
    assert not install({})
