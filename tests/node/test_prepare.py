"""Volumes are kept as they should be; what they are made of is the whole cluster's test."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clusterip.clock import SystemClock
from clusterip.node import prepare
from clusterip.node.model import Pod
from clusterip.node.prepare import Preparation
from clusterip.node.record import PodFolder
from node.pods import pod


class OnAFullDisk(Preparation):
    """Its first writes fail."""

    tries = 0

    def __init__(self, root: Path, written: asyncio.Event) -> None:
        tools = cast(Any, SimpleNamespace(clock=SystemClock()))
        super().__init__(tools, PodFolder(root, "uid", root), lambda: None)
        self._loop, self._written = asyncio.get_running_loop(), written

    def write(self, pod: Pod, address: str) -> None:
        self.tries += 1
        if self.tries < 3:
            raise OSError(28, "No space left on device")
        self._loop.call_soon_threadsafe(self._written.set)


def test_what_could_not_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "RETRY_SECONDS", 0.01)

    async def body() -> None:
        written = asyncio.Event()
        kept = OnAFullDisk(tmp_path, written)
        running = asyncio.ensure_future(kept.run())
        kept.refresh_soon(pod(), "10.244.1.5")
        async with asyncio.timeout(30):
            await written.wait()
        running.cancel()

    asyncio.run(body())
