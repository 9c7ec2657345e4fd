"""The lessons' policies on a whole cluster: a database that only frontends reach, a namespace with one guest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import Cluster
from e2e.test_lessons import play

pytestmark = [pytest.mark.cluster, pytest.mark.kubectl, pytest.mark.timeout(600)]
TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts" / "policy").glob("*.txt"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with the policy agent."""
    if os.geteuid() != 0:
        pytest.skip("a cluster needs root here")
    cluster = Cluster(f"policy-{os.getpid()}", tmp_path_factory.mktemp("clusterip-home"))
    try:
        cluster.clusterip("up", "--name", cluster.name, "--nodes", "2", "--network-policy")
        yield cluster
    finally:
        cluster.clusterip("down", "--name", cluster.name)


@pytest.mark.lessons
@pytest.mark.parametrize("path", TRANSCRIPTS, ids=[path.stem for path in TRANSCRIPTS])
def test_transcripts(path: Path, guarded: Cluster, tmp_path: Path) -> None:
    failures = play(f"policy/{path.stem}", path.read_text(), guarded, tmp_path)
    assert not failures, "\n".join(failures)
