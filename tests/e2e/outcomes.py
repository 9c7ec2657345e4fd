"""What became of the transcripts that this process played, by their names."""

from __future__ import annotations

from clusterip.cli.player import Outcome

OUTCOMES: dict[str, Outcome] = {}
