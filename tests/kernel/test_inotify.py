"""Files that change end a wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterip.kernel.inotify import APPEARED, WRITTEN, Inotify, rewritten


def test_a_write_and_a_new_file_are_seen(tmp_path: Path) -> None:
    async def work() -> None:
        path = tmp_path / "log"
        path.write_text("")
        with Inotify() as inotify:
            inotify.watch(path, WRITTEN)
            path.write_text("x")
            await asyncio.wait_for(inotify.wait(), 30)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(inotify.wait(), 0.01)
            inotify.watch(tmp_path, APPEARED)
            (tmp_path / "new").touch()
            await asyncio.wait_for(inotify.wait(), 30)
            inotify.wake()
            await asyncio.wait_for(inotify.wait(), 30)

    asyncio.run(work())


def test_what_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    async def work() -> None:
        with Inotify() as inotify, pytest.raises(OSError, match="none"):
            inotify.watch(tmp_path / "none", WRITTEN)

    asyncio.run(work())


@pytest.mark.parametrize("change", [lambda path: path.write_text("other"), lambda path: path.rename(f"{path}~")])
def test_a_file_is_rewritten(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """The same words again are no change, and one that another takes the place of is not rewritten."""

    async def work() -> None:
        path = tmp_path / "config"
        (tmp_path / "one").write_text("words")
        path.symlink_to(tmp_path / "one")
        wait = asyncio.create_task(rewritten(path))
        await asyncio.sleep(0)
        path.write_text("words")
        (tmp_path / "link").symlink_to(tmp_path / "two")
        (tmp_path / "two").write_text("other words")
        (tmp_path / "link").rename(path)
        (tmp_path / "one").unlink()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(wait), 0.05)
        wait.cancel()
        second = tmp_path / "second"
        second.write_text("words")
        wait = asyncio.create_task(rewritten(second))
        await asyncio.sleep(0)
        change(second)
        await asyncio.wait_for(wait, 30)

    asyncio.run(work())
