"""Sockets by address and by inheritance."""

from __future__ import annotations

import os
import socket

import pytest

from clusterip.failure import Failure
from clusterip.transport.listening import VARIABLE, bind, bind_any, inherited, split_address, url_of


def test_addresses() -> None:
    assert split_address("127.0.0.1:80") == ("127.0.0.1", 80)
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address("192.168.4.100", 6443) == ("192.168.4.100", 6443)
    for wrong in ("127.0.0.1", "a:b", "a:70000", ""):
        with pytest.raises(Failure):
            split_address(wrong)


def test_a_socket_is_bound_or_a_line_says_why_not() -> None:
    with bind("127.0.0.1:0") as sock:
        port = sock.getsockname()[1]
        assert url_of(sock) == f"https://127.0.0.1:{port}"
        with pytest.raises(Failure, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            bind(f"127.0.0.1:{port}")
    with pytest.raises(Failure, match=r"cannot listen on 192\.0\.2\.1:1"):
        bind("192.0.2.1:1")


def test_a_passed_socket_is_found_by_name() -> None:
    with bind("127.0.0.1:0") as sock:
        copy = os.dup(sock.fileno())
        with inherited("api", {VARIABLE: f"other=1,api={copy}"}) as found:
            assert found.getsockname() == sock.getsockname()
    with pytest.raises(Failure, match="no listener named 'api'"):
        inherited("api", {})
    with pytest.raises(Failure, match="is no socket"):
        inherited("9999", {})


def test_a_socket_on_every_address_of_both_families() -> None:
    with bind_any(0) as sock:
        port = sock.getsockname()[1]
        for address in ("127.0.0.1", *(("::1",) if socket.has_dualstack_ipv6() else ())):
            with socket.create_connection((address, port), timeout=30):
                pass
        with pytest.raises(Failure, match=f"cannot listen on port {port}: Address already in use"):
            bind_any(port)
