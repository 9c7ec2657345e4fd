"""Connections to a loopback: IPv4, else IPv6; in another namespace by its pin."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import pytest

from clusterip.kernel import netns
from clusterip.kernel.loopback import dial


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_whichever_address_a_program_listens_on(family: socket.AddressFamily, address: str) -> None:
    async def work() -> None:
        with socket.create_server((address, 0), family=family) as listening:
            _, writer = await dial(None, listening.getsockname()[1])
            assert writer.get_extra_info("peername")[0] == address
            writer.close()

    asyncio.run(work())


def test_a_port_where_nobody_listens() -> None:
    async def work() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await dial(None, bound.getsockname()[1])

    asyncio.run(work())


@pytest.mark.root
def test_a_port_of_another_namespace() -> None:
    script = "ip link set lo up && echo up && exec cat"
    with subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pod:
        assert pod.stdout is not None
        assert pod.stdout.readline() == b"up\n"
        pin = Path(f"/proc/{pod.pid}/ns/net")
        fd = netns.open_pinned(pin)
        listening = netns.inside(fd, lambda: socket.create_server(("127.0.0.1", 0)))
        os.close(fd)

        async def work() -> None:
            port = listening.getsockname()[1]
            with listening:
                _, writer = await dial(pin, port)
                assert writer.get_extra_info("peername") == ("127.0.0.1", port)
                writer.close()

        asyncio.run(work())
        pod.communicate()
