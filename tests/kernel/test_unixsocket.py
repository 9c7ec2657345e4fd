"""Unix sockets with long names, and listeners in place of dead ones."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from clusterip.kernel.unixsocket import listen, socket_address


def test_a_listener_deep_in_folders_in_place_of_a_dead_one(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    path = folder / "asked.sock"
    listen(str(path), socket.SOCK_SEQPACKET, 4).close()
    with listen(str(path), socket.SOCK_SEQPACKET, 4) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [found.name for found in folder.iterdir()] == ["asked.sock"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            with socket_address(str(path)) as address:
                asking.connect(address)
            answering, _ = listener.accept()
            with answering:
                answering.send(b"here")
            assert asking.recv(10) == b"here"
