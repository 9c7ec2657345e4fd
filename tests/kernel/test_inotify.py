"""Files that change end a wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clusterip.kernel.inotify import APPEARED, WRITTEN, Inotify


def test_a_write_and_a_new_file_are_seen(tmp_path: Path) -> None:
    async def work() -> None:
        path = tmp_path / "log"
        path.write_text("")
        with Inotify() as inotify:
            inotify.watch(path, WRITTEN)
            path.write_text("x")
            await asyncio.wait_for(inotify.wait(), 5)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(inotify.wait(), 0.01)
            inotify.watch(tmp_path, APPEARED)
            (tmp_path / "new").touch()
            await asyncio.wait_for(inotify.wait(), 5)
            inotify.wake()
            await asyncio.wait_for(inotify.wait(), 5)

    asyncio.run(work())


def test_what_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    async def work() -> None:
        with Inotify() as inotify, pytest.raises(OSError, match="none"):
            inotify.watch(tmp_path / "none", WRITTEN)

    asyncio.run(work())
