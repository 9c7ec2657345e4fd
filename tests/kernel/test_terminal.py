"""A terminal's two ends."""

from __future__ import annotations

import asyncio
import contextlib
import os

from clusterip.kernel.terminal import Terminal


def run(raw: bool, typed: bytes) -> tuple[bytes, bytes, os.terminal_size]:
    """What the program reads, what the user sees, and the size that the program sees."""

    async def work() -> tuple[bytes, bytes, os.terminal_size]:
        terminal = Terminal(raw=raw)
        try:
            terminal.resize(33, 77)
            size = os.get_terminal_size(terminal.far)
            await terminal.write(typed)
            read = os.read(terminal.far, 100)
            os.write(terminal.far, b"out\n")
            seen = b""
            while not seen.endswith(b"out\r\n") and not seen.endswith(b"out\n"):
                seen += await asyncio.wait_for(terminal.read(), 30)
            terminal.close_far()
            assert await asyncio.wait_for(terminal.read(), 30) == b""
            return read, seen, size
        finally:
            terminal.close()
            terminal.close()

    return asyncio.run(work())


def test_a_cooked_terminal_echoes() -> None:
    assert run(False, b"ab\x7fc\n") == (b"ac\n", b"ab\b \bc\r\nout\r\n", os.terminal_size((77, 33)))


def test_a_raw_terminal_passes_everything_on() -> None:
    assert run(True, b"a\x7f\n") == (b"a\x7f\n", b"out\n", os.terminal_size((77, 33)))


def test_a_program_that_does_not_read_makes_the_writer_wait() -> None:
    async def work() -> None:
        terminal = Terminal(raw=True)
        content = os.urandom(200_000)
        writing = asyncio.ensure_future(terminal.write(content))
        os.set_blocking(terminal.far, False)
        got = b""
        while len(got) < len(content):
            await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                got += os.read(terminal.far, 65536)
        await asyncio.wait_for(writing, 30)
        assert got == content
        terminal.close()

    asyncio.run(work())
