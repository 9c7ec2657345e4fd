"""A whole cluster for the tests that need one: started once, removed at the end, and nothing of it may stay."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e import ledger
from e2e.outcomes import OUTCOMES
from e2e.resolver import resolver

# transcripts in the order in which the lessons come to them; others after these
ORDER = ("clusterip", "fields", "iptables/lesson", "ingress", "packets", "ways-in", "uml/ipvs", "loadbalancer")
ORDER += ("beyond", "names", "policy/lesson")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Lessons in their order when they alone are played; else each stays with the tests that share its cluster."""
    if config.option.markexpr == "lessons":
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    name = item.name.partition("[")[2].rstrip("]")
    turns = [turn for turn, known in enumerate(ORDER) if known.split("/")[-1] == name and _folder(known) in item.nodeid]
    return turns[0] if turns else len(ORDER)


def _folder(name: str) -> str:
    """A part of the ids of tests that play it."""
    return f"test_{name.split('/')[0]}.py" if "/" in name else "test_lessons.py"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With -s, what became of everything that the lessons say."""
    if OUTCOMES and terminalreporter.config.option.capture == "no":
        terminalreporter.section("what the lessons say, and what became of it here")
        listed = ledger.rows(ledger.LIST.read_text())
        terminalreporter.write_line(ledger.table(ledger.verdict(row, OUTCOMES) for row in listed))


@dataclass(frozen=True)
class Cluster:
    """A running cluster, as a user has it: a name, a state folder, a command."""

    name: str
    home: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "CLUSTERIP_HOME": str(self.home)}

    def clusterip(self, *words: str, check: bool = True, timeout: float = 330) -> subprocess.CompletedProcess[str]:
        """Run the command line; stdout and stderr as text."""
        done = subprocess.run(
            [sys.executable, "-m", "clusterip.main", *words],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, f"clusterip {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def kubectl(self, *words: str, check: bool = True, timeout: float = 120) -> str:
        """Run the real kubectl as the administrator; its stdout."""
        done = self.clusterip("kubectl", "--name", self.name, "--", *words, check=check, timeout=timeout)
        return done.stdout

    def on(self, machine: str | None, *command: str, check: bool = True, timeout: float = 60) -> str:
        """Run a command on a node, or on the LAN machine (None); its stdout."""
        place = [machine] if machine else []
        return self.clusterip("shell", "--name", self.name, *place, "--", *command, check=check, timeout=timeout).stdout

    @property
    def kubeconfig(self) -> Path:
        return self.home / self.name / "kubeconfig"


@pytest.fixture(scope="session")
def world() -> Iterator[str]:
    """Who answers about names beyond the cluster."""
    with resolver() as address:
        yield address


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, world: str) -> Iterator[Cluster]:
    """Three nodes, up."""
    if os.geteuid() != 0:
        pytest.skip("a cluster needs root here")
    cluster = Cluster(f"e2e-{os.getpid()}", tmp_path_factory.mktemp("clusterip-home"))
    try:
        cluster.clusterip("up", "--name", cluster.name, "--resolver", world)
        yield cluster
    finally:
        cluster.clusterip("down", "--name", cluster.name)
