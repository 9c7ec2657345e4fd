"""The lessons and our own transcripts, command by command, with a real kubectl against a real cluster.

`pytest -s` prints them like documentation.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clusterip.cli.demo import lesson_text, lessons, shell_environment
from clusterip.cli.player import Player
from clusterip.cli.transcript import Command, Transcript, parse
from e2e.outcomes import OUTCOMES

if TYPE_CHECKING:
    from e2e.conftest import Cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.kubectl,
    pytest.mark.lessons,
    pytest.mark.timeout(600),
]
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
EXAMPLES = Path(__file__).parents[2] / "examples"
OWN = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


PATIENCE = 3  # a machine that also does other things needs that many times as long as a lesson says


def patient(transcript: Transcript) -> Transcript:
    """The same, with time for a busy machine; it costs nothing where there is no need to wait."""
    for step in transcript.steps:
        if isinstance(step, Command):
            step.within_seconds *= PATIENCE
    return transcript


def play(name: str, text: str, cluster: Cluster, folder: Path) -> list[str]:
    """Play a transcript and remember what became of it; what was missing."""
    environment = shell_environment(folder, cluster.kubeconfig)
    environment |= {"CLUSTERIP_HOME": str(cluster.home), "CLUSTERIP_NAME": cluster.name, "EXAMPLES": str(EXAMPLES)}
    outcome = OUTCOMES[name] = Player(folder, {**os.environ, **environment}, print).play(patient(parse(text)))
    assert outcome.commands
    return outcome.failures


@pytest.mark.parametrize("name", lessons())
def test_every_command_shows_what_the_lesson_shows(name: str, cluster: Cluster, tmp_path: Path) -> None:
    failures = play(name, lesson_text(name), cluster, tmp_path)
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("path", OWN, ids=[path.stem for path in OWN])
def test_transcripts(path: Path, cluster: Cluster, tmp_path: Path) -> None:
    if path.stem == "ingress" and not HAPROXY:
        pytest.skip("haproxy is not installed")
    failures = play(path.stem, path.read_text(), cluster, tmp_path)
    assert not failures, "\n".join(failures)
