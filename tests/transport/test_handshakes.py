"""Handshakes between two ends in memory: those that succeed, are refused, and are left."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest

from clusterip.transport.certificates import new_authority, server_context
from clusterip.transport.handshakes import Handshakes, counted


@pytest.fixture(scope="module")
def counting() -> tuple[ssl.SSLContext, Handshakes]:
    context = server_context(new_authority().server("here", ["localhost"]))
    return context, counted(context)


def ends(context: ssl.SSLContext, trusts: bool) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A server's and a client's end of one connection."""
    client = ssl.create_default_context()
    if not trusts:
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(there, here, server_side=True), client.wrap_bio(here, there, server_hostname="localhost")


def shake(*objects: ssl.SSLObject) -> None:
    for _ in range(4):
        for each in objects:
            with suppress(ssl.SSLWantReadError):
                each.do_handshake()


def test_one_that_succeeds_is_no_error(counting: tuple[ssl.SSLContext, Handshakes]) -> None:
    context, count = counting
    before = count.failed
    server, client = ends(context, trusts=False)
    shake(client, server)
    assert server.version() == "TLSv1.3"
    del server
    assert count.failed == before


def test_one_that_is_refused_is_counted_once(counting: tuple[ssl.SSLContext, Handshakes]) -> None:
    context, count = counting
    before = count.failed
    server, client = ends(context, trusts=True)
    with pytest.raises(ssl.SSLError):
        shake(server, client)
    with pytest.raises(ssl.SSLError):
        shake(server)
    del server
    assert count.failed == before + 1


def test_one_that_is_left_is_counted(counting: tuple[ssl.SSLContext, Handshakes]) -> None:
    context, count = counting
    before = count.failed
    server, _ = ends(context, trusts=False)
    shake(server)
    del server
    assert count.failed == before + 1
