"""The lessons, command by command, with a real kubectl against a real cluster. `pytest -s` prints them like documentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clusterip.cli.demo import lesson_text, lessons, shell_environment
from clusterip.cli.player import Player
from clusterip.cli.transcript import parse

if TYPE_CHECKING:
    from e2e.conftest import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.kubectl]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", lessons())
def test_every_command_shows_what_the_lesson_shows(name: str, cluster: Cluster, tmp_path: Path) -> None:
    outcome = Player(tmp_path, shell_environment(tmp_path, cluster.kubeconfig), print).play(parse(lesson_text(name)))
    assert outcome.commands
    assert not outcome.failures, "\n".join(outcome.failures)
