"""Nodes whose network is a User Mode Linux guest: the IPVS lesson, and what becomes of a node when parts of it die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clusterip.kernel import process
from e2e.conftest import Cluster
from e2e.test_lessons import play

pytestmark = [pytest.mark.cluster, pytest.mark.kubectl, pytest.mark.timeout(1200)]
TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts" / "uml").glob("*.txt"))
PATIENCE_SECONDS = 180.0


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of kind uml."""
    cluster = Cluster(f"uml-{os.getpid()}", tmp_path_factory.mktemp("clusterip-home"))
    try:
        cluster.clusterip(
            "up", "--name", cluster.name, "--nodes", "2", "--node-kind", "uml", "--proxy-mode", "iptables"
        )
        yield cluster
    finally:
        cluster.clusterip("down", "--name", cluster.name)
        assert guests_of(cluster) == []


def guests_of(cluster: Cluster) -> list[int]:
    """Processes of this machine that are guests of the cluster: they lie in its nodes' mounts."""
    return [pid for pid in process.all_pids() if _is_guest(pid) and _record_of(cluster, pid)]


def _is_guest(pid: int) -> bool:
    try:
        return "linux.uml" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return False


def _record_of(cluster: Cluster, pid: int) -> bool:
    try:
        return cluster.name in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def until(holds: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.lessons
@pytest.mark.parametrize("path", TRANSCRIPTS, ids=[path.stem for path in TRANSCRIPTS])
def test_transcripts(path: Path, guests: Cluster, tmp_path: Path) -> None:
    failures = play(f"uml/{path.stem}", path.read_text(), guests, tmp_path)
    assert not failures, "\n".join(failures)


def answers(cluster: Cluster) -> bool:
    """Whether node-1's proxy leads to the API server's Service, asked on the node itself."""
    return "gitVersion" in cluster.on("node-1", "curl", "-sk", "-m", "30", "https://10.96.0.1/version", check=False)


def test_a_guest_that_was_killed_comes_back_with_its_proxy(guests: Cluster) -> None:
    pid, _ = (guests.home / guests.name / "processes" / "node-1@guest").read_text().split()
    until(lambda: answers(guests))
    boot = guests.on("node-1", "cat", "/proc/sys/kernel/random/boot_id")
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: not process.is_alive(int(pid), process.start_time(int(pid)) or 0))
    until(lambda: guests.on("node-1", "cat", "/proc/sys/kernel/random/boot_id", check=False) not in ("", boot))
    until(lambda: answers(guests))
    until(lambda: guests.kubectl("get", "node", "node-1", check=False).split()[-4:-3] == ["Ready"])


def test_the_agent_adopts_what_runs_in_the_guest(guests: Cluster) -> None:
    until(lambda: answers(guests))
    proxy = ("pgrep", "-o", "kube-proxy")  # the oldest: what it starts has its name for a moment
    before = guests.on("node-1", *proxy)
    pid, _ = (guests.home / guests.name / "processes" / "node-1@agent").read_text().split()
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: (guests.home / guests.name / "processes" / "node-1@agent").read_text().split()[0] != pid)
    time.sleep(3)
    assert guests.on("node-1", *proxy) == before
    assert answers(guests)
