"""A whole cluster for the tests that need one: started once, removed at the end, and nothing of it may stay."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.resolver import resolver


@dataclass(frozen=True)
class Cluster:
    """A running cluster, as a user has it: a name, a state folder, a command."""

    name: str
    home: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "CLUSTERIP_HOME": str(self.home)}

    def clusterip(self, *words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
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
    cluster.clusterip("up", "--name", cluster.name, "--resolver", world)
    try:
        yield cluster
    finally:
        cluster.clusterip("down", "--name", cluster.name)
