"""Whole packets both ways."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from clusterip.kernel.seqpacket import Seqpacket


def test_packets_keep_their_borders(tmp_path: Path) -> None:
    async def work() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(str(tmp_path / "s"))
            listening.listen()
            near = Seqpacket(tmp_path / "s")
            far, _ = listening.accept()
            with far:
                await near.send(b"one")
                await near.send(b"two")
                assert (far.recv(100), far.recv(100)) == (b"one", b"two")
                receiving = asyncio.ensure_future(near.receive())
                await asyncio.sleep(0)
                far.send(b"three")
                assert await asyncio.wait_for(receiving, 30) == b"three"
                near.end()
                assert far.recv(100) == b""
            assert await asyncio.wait_for(near.receive(), 30) == b""
            near.close()

    asyncio.run(work())


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Seqpacket(tmp_path / "none")
