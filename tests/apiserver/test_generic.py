"""What every kind's verbs have in common, against answers of the generic API server of Kubernetes 1.36."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from apiserver.generic import played
from apiserver.serving import serving

SCENARIOS = json.loads((Path(__file__).parents[1] / "fixtures/api/generic.json").read_text())


@pytest.mark.parametrize("name", SCENARIOS)
def test_as_recorded(name: str) -> None:
    async def run() -> list[tuple[str, object, object]]:
        async with serving() as api:
            return await asyncio.to_thread(lambda: list(played(api.url, api.token, name, SCENARIOS[name])))

    different = [step for step in asyncio.run(run()) if step[1] != step[2]]
    assert different == []
