"""Sockets to listen on: bound from an address, or inherited by number.

Stage: edge.  In: `host:port`, or a name of CLUSTERIP_LISTEN_FDS.  Out: bound sockets; a Failure that says why not.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from clusterip.failure import Failure

VARIABLE = "CLUSTERIP_LISTEN_FDS"


def split_address(text: str, port: int | None = None) -> tuple[str, int]:
    """`host:port`, `[v6]:port`; the port may be given apart."""
    host, colon, number = text.rpartition(":")
    if not colon or (port is not None and not number.isdigit()):
        host, number = text, str(port if port is not None else "")
    if not number.isdigit() or int(number) > 65535:
        raise Failure(f"{text!r} is not an address and a port; write it as 127.0.0.1:6443")
    return host.strip("[]"), int(number)


def bind(address: str) -> socket.socket:
    """A TCP socket bound to `host:port`."""
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _listening(family, host, port, address)


def bind_any(port: int) -> socket.socket:
    """A TCP socket on every address of both IP families, or of the one that there is."""
    if not socket.has_dualstack_ipv6():
        return _listening(socket.AF_INET, "0.0.0.0", port, f"port {port}")
    return _listening(socket.AF_INET6, "::", port, f"port {port}", both=True)


def _listening(family: int, host: str, port: int, address: str, *, both: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if both:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        hint = "; choose another port, or stop the program that has it" if error.errno == 98 else ""
        raise Failure(f"cannot listen on {address}: {os.strerror(error.errno or 0)}{hint}") from error
    sock.setblocking(False)
    return sock


def inherited(name: str, environ: Mapping[str, str] | None = None) -> socket.socket:
    """The listening socket that the parent passed under this name (or number)."""
    passed = dict(pair.split("=", 1) for pair in (environ or os.environ).get(VARIABLE, "").split(",") if "=" in pair)
    number = passed.get(name, name)
    if not number.isdigit():
        raise Failure(f"no listener named {name!r} was passed in {VARIABLE}")
    try:
        sock = socket.socket(fileno=int(number))
    except OSError as error:
        raise Failure(f"file {number} is no socket: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket) -> str:
    """How a client on this machine reaches the socket."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"https://{host}:{port}"
