"""exec, attach, logs, port-forward and cp by stock clients, through the API server, to a real container.

CLUSTERIP_SOAK=1 makes the transfers 100 MB and 50 of them at once.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from clusterip.cluster.kubectl import PINS, VERSION, released
from foreign.realnode import echo, served
from node.containers import BUSYBOX, CONMON, RUNC

if TYPE_CHECKING:
    from pathlib import Path

    from foreign.conftest import Served

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (RUNC and CONMON and BUSYBOX), reason="needs runc, conmon and a static busybox"),
]
SOAK = "CLUSTERIP_SOAK" in os.environ
SIZE = 100_000_000 if SOAK else 3_000_000
AT_ONCE = 50 if SOAK else 6
CLOCK = 600 if SOAK else 120


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("real")) as found:
        yield found


Run = Callable[..., subprocess.CompletedProcess[bytes]]


def words_of(real: Served, version: str) -> list[str]:
    return [str(released(version)), "--kubeconfig", str(real.kubeconfig)]


def kubectl(real: Served, version: str, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = [*words_of(real, version), *words]
    return subprocess.run(program, input=given, capture_output=True, timeout=CLOCK, check=False)


@contextmanager
def forwarded(real: Served, version: str, port: int) -> Iterator[int]:
    """kubectl port-forward, and the local port that it chose."""
    program = [*words_of(real, version), "port-forward", "pod/p", f":{port}"]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        found = re.search(rb"127\.0\.0\.1:(\d+) ->", running.stdout.readline())
        assert found
        try:
            yield int(found[1])
        finally:
            running.kill()


def there_and_back(port: int, content: bytes) -> bytes:
    """Say it while listening; what was heard until the other side ended."""
    heard = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=CLOCK) as connection:

        def listen() -> None:
            while len(heard) < len(content) and (piece := connection.recv(65536)):
                heard.extend(piece)

        listener = threading.Thread(target=listen)
        listener.start()
        connection.sendall(content)
        listener.join(CLOCK)
    return bytes(heard)


@pytest.mark.kubectl
@pytest.mark.parametrize("version", sorted(PINS))
def test_every_kubectl(real: Served, version: str, tmp_path: Path) -> None:
    ran = kubectl(real, version, "exec", "-i", "p", "--", "sh", "-c", "cat; echo wrong >&2; exit 7", given=b"typed")
    assert (ran.stdout, ran.returncode) == (b"typed", 7), ran.stderr
    assert ran.stderr.startswith(b"wrong\n")
    assert kubectl(real, version, "logs", "p").stdout.startswith(b"begun\n")
    attached = [*words_of(real, version), "attach", "-i", "p"]
    with subprocess.Popen(attached, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(version.encode() + b"\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"got " + version.encode() + b"\n"
        running.kill()
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(1_000_000))
    for pair in ((str(source), f"p:/tmp/{version}"), (f"p:/tmp/{version}", str(back))):
        copied = kubectl(real, version, "cp", *pair)
        assert copied.returncode == 0, copied.stderr
    assert back.read_bytes() == source.read_bytes()
    with echo() as port, forwarded(real, version, port) as local:
        content = os.urandom(300_000)
        for _ in range(2):
            assert there_and_back(local, content) == content


@pytest.mark.kubectl
def test_long_transfers_both_ways(real: Served) -> None:
    content = os.urandom(SIZE)
    ran = kubectl(real, VERSION, "exec", "-i", "p", "--", "cat", given=content)
    assert hashlib.sha256(ran.stdout).digest() == hashlib.sha256(content).digest()
    with echo() as port, forwarded(real, VERSION, port) as local:
        assert hashlib.sha256(there_and_back(local, content)).digest() == hashlib.sha256(content).digest()


@pytest.mark.kubectl
def test_many_at_once_leave_nothing_behind(real: Served) -> None:
    before = len(os.listdir("/proc/self/fd"))
    content = os.urandom(200_000)

    def command(number: int) -> bool:
        ran = kubectl(real, VERSION, "exec", "-i", "p", "--", "cat", given=content + str(number).encode())
        return ran.stdout == content + str(number).encode()

    with echo() as port, forwarded(real, VERSION, port) as local, ThreadPoolExecutor(AT_ONCE) as pool:
        commands = list(pool.map(command, range(AT_ONCE)))
        connections = list(pool.map(lambda _: there_and_back(local, content) == content, range(AT_ONCE)))
    assert all(commands)
    assert all(connections)
    assert kubectl(real, VERSION, "exec", "p", "--", "true").returncode == 0
    assert len(os.listdir("/proc/self/fd")) <= before + 5  # connections that are kept for a while
    running = kubectl(real, VERSION, "exec", "p", "--", "sh", "-c", "cat /proc/[0-9]*/comm").stdout.split()
    assert running.count(b"cat") == 1
