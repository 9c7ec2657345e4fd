"""modprobe's words come back in one line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clusterip.kernel import modules


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = folder / "modprobe"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, f'echo "$@" >{tmp_path}/asked', monkeypatch)
    assert asyncio.run(modules.load("ip_vs", "ip_vs_rr")) == ""
    assert (tmp_path / "asked").read_text() == "-a -- ip_vs ip_vs_rr\n"


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "echo 'modprobe: WARNING: Module ip_vs not found.' >&2; echo again >&2; exit 1", monkeypatch)
    assert asyncio.run(modules.load("ip_vs")) == "modprobe: WARNING: Module ip_vs not found.; again"
    program(tmp_path, "exit 3", monkeypatch)
    assert asyncio.run(modules.load("ip_vs")) == "modprobe ended with 3"


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asyncio.run(modules.load("ip_vs")) == "cannot run modprobe: No such file or directory"


def test_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, f'echo "$@" >>{tmp_path}/asked; exit 1', monkeypatch)
    (tmp_path / "here").mkdir()
    for name in ("here", "there"):
        modules.load_now(name, tmp_path)
    assert (tmp_path / "asked").read_text() == "-q -- there\n"
    monkeypatch.setenv("PATH", str(tmp_path / "here"))
    modules.load_now("there", tmp_path)


def test_what_is_at_hand(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    assert modules.is_at_hand("here", tmp_path)
    assert not modules.is_at_hand("clusterip_has_no_such_module", tmp_path)
