"""Listings of the kernel."""

import socket
from pathlib import Path

from clusterip.explain.sockets import parse

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0501F40A:1F90 0601F40A:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
  what is this
"""


def test_only_what_waits() -> None:
    assert [str(found) for found in parse(TCP, "tcp")] == ["0.0.0.0:8080/tcp", "127.0.0.1:80/tcp"]
    assert [found.is_for_others for found in parse(TCP, "tcp")] == [True, False]


def test_the_kernel_s_own_listing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        own = Path("/proc/self/net")
        found = {str(each) for each in parse((own / "tcp").read_text(), "tcp")}
        found |= {str(each) for each in parse((own / "tcp6").read_text(), "tcp")}
        assert f"127.0.0.1:{four.getsockname()[1]}/tcp" in found
        assert f"[::1]:{six.getsockname()[1]}/tcp" in found
