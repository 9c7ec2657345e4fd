"""Every transcript: on the plan with the traits of each mode, on what each mode compiles, on the kernel in each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterip.proxy.modes import MODES
from packets.lab import Lab
from packets.nodeproxy import modes_here
from scenarios.transcripts import Changed, Decided, Place, Sent, Walked, play

TRANSCRIPTS = sorted((Path(__file__).parent / "proxy").glob("*.txt"))
PLACES = [
    *(f"plan {mode}" for mode in MODES),
    *(f"compiled {mode}" for mode in MODES),
    "changes nftables",
    *(pytest.param(f"kernel {mode}", marks=pytest.mark.root) for mode in modes_here()),
]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    kind, mode = request.param.split()
    if kind == "plan":
        yield Decided(mode)
    elif kind == "compiled":
        yield Walked(mode)
    elif kind == "changes":
        yield Changed()
    else:
        with Lab(mode) as lab:
            yield Sent(lab)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, place: Place) -> None:
    assert play(path, place) > 0
