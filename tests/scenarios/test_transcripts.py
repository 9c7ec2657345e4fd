"""Every transcript: on the plan with the traits of each mode, on the compiled tables, on the kernel in each mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterip.proxy.modes import MODES
from packets.lab import Lab
from packets.nodeproxy import modes_here
from scenarios.transcripts import Decided, Place, Sent, Walked, play

TRANSCRIPTS = sorted((Path(__file__).parent / "proxy").glob("*.txt"))
PLACES = [
    *(f"plan {mode}" for mode in MODES),
    "tables nftables",
    *(pytest.param(f"kernel {mode}", marks=pytest.mark.root) for mode in modes_here()),
]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    kind, mode = request.param.split()
    if kind == "plan":
        yield Decided(mode)
    elif kind == "tables":
        yield Walked()
    else:
        with Lab(mode) as lab:
            yield Sent(lab)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, place: Place) -> None:
    if "family IPv6" in path.read_text() and place.mode == "nftables" and not isinstance(place, Decided):
        pytest.skip("nftables mode speaks IPv4 so far")
    assert play(path, place) > 0
