"""Someone who sends as much as is taken, for readers that pause: what lies between the two is what everybody holds.

A server that passes bytes on may hold a piece of them and no more: it has to stop taking what it cannot give away.
"""

from __future__ import annotations

import asyncio

OFFERED = 100_000_000
MOST = 40_000_000  # of two connections: the kernel's buffers at their largest on both ends, and a piece at each hand
PIECE = bytes(64 * 1024)
QUIET_SECONDS = 1.0


class Flood:
    """Sends until nobody takes any more, then waits for the reader, and ends."""

    def __init__(self) -> None:
        self.sent = 0
        self.stalled = asyncio.Event()

    async def pour(self, writer: asyncio.StreamWriter) -> None:
        while self.sent < OFFERED and not self.stalled.is_set():
            writer.write(PIECE)
            self.sent += len(PIECE)
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await writer.drain()
            except TimeoutError:
                self.stalled.set()
        self.stalled.set()
        await writer.drain()
        writer.close()
