"""A command in a guest as its user sees it: pipes, a terminal, exit codes, and a guest that does not answer."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import clusterip
from clusterip.cluster.umlgate import GateServer
from transport.ports import free_port

PROGRAM = """
import sys
from clusterip.cli.distance import run_there
from clusterip.failure import Failure
from clusterip.kernel.gate import Gate
try:
    code = run_there(Gate("127.0.0.1", "secret", int(sys.argv[1])), sys.argv[2:], {"PATH": "/usr/bin:/bin"}, "/")
except Failure as failure:
    print(failure)
    code = 1
sys.exit(code)
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A gate on this kernel."""
    number = free_port()
    loop = asyncio.new_event_loop()
    serving = loop.create_task(GateServer("secret", "").serve("127.0.0.1", number))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait({serving})))
    thread.start()
    while True:
        try:
            socket.create_connection(("127.0.0.1", number)).close()
            break
        except ConnectionRefusedError:
            continue
    yield number
    loop.call_soon_threadsafe(serving.cancel)
    thread.join()
    loop.close()


def words(port: int, *command: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(port), *command]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(clusterip.__file__).parent.parent)}


def run(port: int, *command: str, input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(port, *command), input=input, capture_output=True, text=True, timeout=120, env=ENVIRONMENT, check=False
    )


def test_streams_and_exit_code_are_the_commands(port: int) -> None:
    done = run(port, "sh", "-c", "cat; echo apart >&2; exit 5", input="typed\n")
    assert (done.stdout, done.stderr, done.returncode) == ("typed\n", "apart\n", 5)


def test_a_file_as_input(port: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x" * 100_000)
    with (tmp_path / "file").open() as file:
        done = subprocess.run(
            words(port, "wc", "-c"),
            stdin=file,
            capture_output=True,
            text=True,
            timeout=120,
            env=ENVIRONMENT,
            check=False,
        )
    assert done.stdout.strip() == "100000"


def test_a_missing_program(port: int) -> None:
    done = run(port, "no-such-program")
    assert (done.stderr, done.returncode) == ("clusterip: no-such-program: no such program on the machine\n", 127)


def test_a_terminal_is_a_terminal_there(port: int) -> None:
    near, far = pty.openpty()
    started = subprocess.Popen(
        words(port, "sh", "-c", "tty; exit 4"), stdin=far, stdout=far, stderr=far, env=ENVIRONMENT
    )
    os.close(far)
    assert started.wait(30) == 4
    shown = os.read(near, 4096).decode()
    os.close(near)
    assert "/dev/pts/" in shown


def test_a_guest_that_does_not_answer() -> None:
    done = run(free_port(), "true")
    assert "the node's guest does not answer" in done.stdout
    assert done.returncode == 1
