"""The rig: a command's output and exit code come back, a guest that hangs or dies is told, nothing of it stays."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterip.kernel import process
from uml import guest

pytestmark = pytest.mark.root


def of_guest(folder: Path) -> list[int]:
    """The processes of a guest: its own and those that run its user space have its command line."""
    return [pid for pid in process.all_pids() if str(folder) in _command_line(pid)]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def test_output_and_exit_code_come_back(tmp_path: Path) -> None:
    done = guest.run(["sh", "-c", "echo here; echo there >&2; echo kept >/run/host/file; exit 7"], tmp_path)
    assert (done.exit, done.output) == (7, "here\nthere\n")
    assert (tmp_path / "file").read_text() == "kept\n"
    assert of_guest(tmp_path) == []


def test_one_that_hangs_is_ended_by_the_clock(tmp_path: Path) -> None:
    with pytest.raises(guest.GuestFailed, match="ended with 0 before its command did") as failed:
        guest.run(["sleep", "1000"], tmp_path, seconds=6)
    assert re.search(r"sleep 1000\n(?:.*\n)+?.*nanosleep", str(failed.value)), "where its processes are is told"
    assert of_guest(tmp_path) == []


def test_it_ends_with_whoever_booted_it(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    program = f"""
from pathlib import Path
from uml import guest
guest.run(["sh", "-c", "touch /run/host/begun; sleep 1000"], Path({str(tmp_path)!r}))
"""
    path = os.pathsep.join((str(guest.HERE.parent), str(guest.ROOT / "src")))
    booting = subprocess.Popen([sys.executable, "-c", program], env=dict(os.environ, PYTHONPATH=path))
    try:
        within(120, begun.exists)
        assert of_guest(tmp_path) != []
    finally:
        booting.kill()
        booting.wait()
    within(120, lambda: of_guest(tmp_path) == [])


def within(seconds: float, holds: Callable[[], bool]) -> None:
    """It comes true, sooner or later."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest.shutil, "which", lambda *_args, **_options: None)
    with pytest.raises(guest.GuestFailed, match="apt-get install"):
        guest.run(["true"], tmp_path)
