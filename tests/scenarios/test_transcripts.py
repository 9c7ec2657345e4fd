"""Every transcript, on the plan, on the compiled tables and on the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packets.lab import Lab
from scenarios.transcripts import Decided, Place, Sent, Walked, play

TRANSCRIPTS = sorted((Path(__file__).parent / "proxy").glob("*.txt"))


@pytest.fixture(params=["plan", "tables", pytest.param("kernel", marks=pytest.mark.root)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "plan":
        yield Decided()
    elif request.param == "tables":
        yield Walked()
    else:
        with Lab() as lab:
            yield Sent(lab)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, place: Place) -> None:
    assert play(path, place) > 0
