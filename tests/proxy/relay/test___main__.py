"""The relay's front door: a socket as standard input, nothing but the standard library, and an end with the socket."""

from __future__ import annotations

import socket
import subprocess
import sys

from clusterip.proxy.relay.process import COMMAND, PACKAGES
from clusterip.proxy.relay.table import Request, parse_answer, render_request


def test_it_serves_the_socket_that_standard_input_is() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    with ours:
        with theirs:
            child = subprocess.Popen(COMMAND, stdin=theirs.fileno(), env={"PYTHONPATH": str(PACKAGES)})
        ours.sendall(render_request(Request()))
        assert parse_answer(ours.recv(1000)).connections == 0
    assert child.wait(60) == 0


def test_it_imports_only_the_standard_library_and_us() -> None:
    asking = (
        "import sys, clusterip.proxy.relay.server, clusterip.transport.log\n"
        "print({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - {'__main__'})"
    )
    command = (sys.executable, "-S", "-c", asking)
    done = subprocess.run(command, env={"PYTHONPATH": str(PACKAGES)}, capture_output=True, text=True, check=True)
    assert done.stdout == "{'clusterip'}\n"
