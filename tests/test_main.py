"""The command line: every command is there, failures are one line, and what is called in loops starts light."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys

import pytest

from clusterip.main import COMMANDS, console, main

# What people and scripts call again and again: none of them needs a server's libraries to begin.
LIGHT = ("up", "down", "status", "kubeconfig", "kubectl", "shell", "demo", "image")
HEAVY = {"aiohttp", "cryptography", "uvloop", "msgspec", "yaml", "orjson"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_describes_itself(command: str) -> None:
    module = importlib.import_module(COMMANDS[command][0])
    assert module.DESCRIPTION
    module.add_arguments(argparse.ArgumentParser())
    assert callable(module.run)


@pytest.mark.parametrize("command", LIGHT)
def test_a_light_command_imports_nothing_heavy(command: str) -> None:
    program = f"import sys, clusterip.main, {COMMANDS[command][0]}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


def test_wrong_usage_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["no-such-command"])
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_a_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.setenv("CLUSTERIP_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["clusterip", "kubeconfig", "--name", "absent"])
    with pytest.raises(SystemExit) as ended:
        console()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "clusterip: cluster absent is not running; start it: clusterip up --name absent\n"
