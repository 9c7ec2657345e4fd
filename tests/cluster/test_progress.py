"""Steps reach whoever asks, from the first to the last."""

from __future__ import annotations

import asyncio
from pathlib import Path

from clusterip.cluster import progress
from clusterip.cluster.progress import Progress, Step


def test_a_late_visitor_hears_all_steps_and_an_early_one_too(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"

    async def body() -> tuple[list[Step], list[Step]]:
        told = Progress()
        serving = asyncio.create_task(told.serve(path))
        while not path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0)
        early = asyncio.create_task(asyncio.to_thread(lambda: list(progress.follow(path, 5))))
        await told.say("one")
        await told.say("two", trouble=True)
        await told.say("done", ready=True)
        late = await asyncio.to_thread(lambda: list(progress.follow(path, 5)))
        heard = await early
        serving.cancel()
        return heard, late

    early, late = asyncio.run(body())
    assert early == late == [Step("one"), Step("two", trouble=True), Step("done", ready=True)]
