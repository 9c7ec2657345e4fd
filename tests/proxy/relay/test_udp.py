"""UDP through the relay: a back-channel for each client, idle times, endpoints that go."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from clusterip.proxy.relay import udp
from clusterip.proxy.relay.table import Place, Request
from proxy.relay.inside import Relayed, client, endpoint, nobody


@pytest.fixture
def relay() -> Relayed:
    return Relayed()


@pytest.fixture
def servers() -> Iterator[list[tuple[socket.socket, Place]]]:
    with ExitStack() as stack:
        yield [stack.enter_context(endpoint(socket.SOCK_DGRAM)) for _ in range(2)]


def put(relay: Relayed, *places: Place, affinity: int = 0) -> int:
    return relay.put("dns", *places, protocol="udp", affinity=affinity)


def ask(relay: Relayed, asking: socket.socket, servers: list[tuple[socket.socket, Place]]) -> int:
    """Which endpoint gets a question; it answers, and the client hears it."""
    asking.send(b"?")
    for _ in range(100):
        relay.turns(1)
        for number, (server, _) in enumerate(servers):
            try:
                question, peer = server.recvfrom(100)
            except BlockingIOError:
                continue
            assert question == b"?"
            server.sendto(b"!", peer)
            assert relay.until(lambda: asking.recv(100)) == b"!"
            return number
    raise AssertionError("nobody was asked")


def test_a_client_keeps_its_endpoint_and_others_get_the_next(
    relay: Relayed, servers: list[tuple[socket.socket, Place]]
) -> None:
    port = put(relay, *(place for _, place in servers))
    with client(port, socket.SOCK_DGRAM) as one, client(port, socket.SOCK_DGRAM) as other:
        first = ask(relay, one, servers)
        assert ask(relay, other, servers) == 1 - first
        assert [ask(relay, one, servers) for _ in range(4)] == [first] * 4
        assert len(relay.server.flows) == 2


def test_affinity_is_the_client_addresss(relay: Relayed, servers: list[tuple[socket.socket, Place]]) -> None:
    port = put(relay, *(place for _, place in servers), affinity=60)
    with client(port, socket.SOCK_DGRAM) as one, client(port, socket.SOCK_DGRAM) as other:
        assert ask(relay, one, servers) == ask(relay, other, servers)


def test_a_flow_moves_when_its_endpoint_goes(relay: Relayed, servers: list[tuple[socket.socket, Place]]) -> None:
    places = [place for _, place in servers]
    port = put(relay, *places)
    with client(port, socket.SOCK_DGRAM) as asking:
        first = ask(relay, asking, servers)
        put(relay, places[1 - first])
        assert ask(relay, asking, servers) == 1 - first
        assert len(relay.server.flows) == 1


def test_an_endpoint_that_refuses_loses_the_flow(relay: Relayed, servers: list[tuple[socket.socket, Place]]) -> None:
    port = put(relay, nobody(), servers[0][1])
    with client(port, socket.SOCK_DGRAM) as asking:
        asking.send(b"lost, or not")
        relay.turns()
        asking.send(b"lost, or not")
        relay.turns()
        assert relay.until(lambda: servers[0][0].recv(100)) == b"lost, or not"


def test_flows_end_when_nobody_uses_them(relay: Relayed, servers: list[tuple[socket.socket, Place]]) -> None:
    port = put(relay, servers[0][1])
    with client(port, socket.SOCK_DGRAM) as single, client(port, socket.SOCK_DGRAM) as stream:
        ask(relay, single, servers)
        ask(relay, stream, servers)
        relay.pass_time(udp.STREAM_AFTER_SECONDS + 1)
        ask(relay, stream, servers)
        relay.pass_time(udp.SINGLE_SECONDS)
        relay.pass_time(udp.SWEEP_SECONDS)
        assert len(relay.server.flows) == 1
        ask(relay, stream, servers)
        relay.pass_time(udp.STREAM_SECONDS + udp.SWEEP_SECONDS)
        relay.pass_time(udp.SWEEP_SECONDS)
        assert len(relay.server.flows) == 0


def test_the_flow_unused_longest_makes_room(servers: list[tuple[socket.socket, Place]]) -> None:
    relay = Relayed(descriptors=0)  # the least
    port = put(relay, servers[0][1])
    largest = relay.server.flows._largest
    with ExitStack() as stack:
        for _ in range(largest + 3):
            ask(relay, stack.enter_context(client(port, socket.SOCK_DGRAM)), servers)
        assert len(relay.server.flows) == largest


def test_many_datagrams_at_once_all_arrive(relay: Relayed, servers: list[tuple[socket.socket, Place]]) -> None:
    port = put(relay, servers[0][1])
    with client(port, socket.SOCK_DGRAM) as asking:
        for number in range(100):
            asking.send(b"%d" % number)
        got = [relay.until(lambda: servers[0][0].recv(100)) for _ in range(100)]
        assert got == [b"%d" % number for number in range(100)]


def test_a_closed_listener_ends_its_flows_and_no_endpoint_is_silence(
    relay: Relayed, servers: list[tuple[socket.socket, Place]]
) -> None:
    port = put(relay, servers[0][1])
    with client(port, socket.SOCK_DGRAM) as asking:
        ask(relay, asking, servers)
        put(relay)
        asking.send(b"?")
        relay.turns()
        assert len(relay.server.flows) == 0
        relay.apply(Request(remove=["dns"]))
        relay.turns()
        asking.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            asking.send(b"?")
