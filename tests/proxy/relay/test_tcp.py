"""TCP through the relay: endpoints in turn, endings, resets, back-pressure, dials that fail, too many clients."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from clusterip.proxy.relay import tcp
from clusterip.proxy.relay.stream import RESET
from clusterip.proxy.relay.table import Place, Request
from proxy.relay.inside import HERE, Relayed, client, endpoint, nobody


@pytest.fixture
def relay() -> Relayed:
    return Relayed()


@pytest.fixture
def pair(relay: Relayed) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the endpoint's side of its connection."""
    with endpoint() as (server, place), client(relay.put("web", place)) as asking:
        answering = relay.until(server.accept)[0]
        with answering:
            answering.setblocking(False)
            relay.turns()
            yield asking, answering


def said(sock: socket.socket) -> bytes | None:
    return sock.recv(100)


def test_bytes_go_both_ways_and_endings_one_by_one(relay: Relayed, pair: tuple[socket.socket, socket.socket]) -> None:
    asking, answering = pair
    asking.sendall(b"question")
    asking.shutdown(socket.SHUT_WR)
    assert relay.until(lambda: said(answering)) == b"question"
    assert relay.until(lambda: said(answering)) == b""
    answering.sendall(b"answer")
    assert relay.until(lambda: said(asking)) == b"answer"
    assert relay.server.room.taken == 1
    answering.close()
    assert relay.until(lambda: said(asking)) == b""
    relay.turns()
    assert relay.server.room.taken == 0


def test_the_endpoint_may_speak_first_and_end_first(relay: Relayed, pair: tuple[socket.socket, socket.socket]) -> None:
    asking, answering = pair
    answering.sendall(b"220 hello")
    answering.shutdown(socket.SHUT_WR)
    assert relay.until(lambda: said(asking)) == b"220 hello"
    assert relay.until(lambda: said(asking)) == b""
    asking.sendall(b"still here")
    assert relay.until(lambda: said(answering)) == b"still here"


@pytest.mark.parametrize("of_client", [True, False])
def test_a_reset_is_handed_on(relay: Relayed, pair: tuple[socket.socket, socket.socket], of_client: bool) -> None:
    leaving, staying = pair if of_client else reversed(pair)
    leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    leaving.close()
    with pytest.raises(ConnectionResetError):
        relay.until(lambda: said(staying))
    relay.turns()
    assert relay.server.room.taken == 0


def test_what_was_said_before_a_reset_arrives(relay: Relayed, pair: tuple[socket.socket, socket.socket]) -> None:
    asking, answering = pair
    asking.sendall(b"a question that nobody reads")
    relay.turns()
    answering.sendall(b"answer")
    answering.close()  # with bytes unread: a reset
    assert relay.until(lambda: said(asking)) == b"answer"
    with pytest.raises(ConnectionResetError):
        relay.until(lambda: said(asking) and None)


def test_a_slow_reader_slows_its_writer_and_no_byte_is_lost(
    relay: Relayed, pair: tuple[socket.socket, socket.socket]
) -> None:
    asking, answering = pair
    sent, got = hashlib.sha256(), hashlib.sha256()
    count = 0
    piece = os.urandom(1 << 16)
    try:
        while True:  # nobody reads: at some time nothing more is taken
            taken = asking.send(piece)
            sent.update(piece[:taken])
            count += taken
            relay.turns()
    except BlockingIOError:
        pass
    assert count < 32 << 20
    asking.shutdown(socket.SHUT_WR)
    while data := relay.until(lambda: answering.recv(1 << 20)):
        got.update(data)
    assert got.digest() == sent.digest()


def test_every_endpoint_in_turn(relay: Relayed) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(endpoint()) for _ in range(3)]
        port = relay.put("web", *(place for _, place in servers))
        for _ in range(9):
            stack.enter_context(client(port))
        relay.turns(60)
        assert [accepted(server) for server, _ in servers] == [3, 3, 3]


def accepted(server: socket.socket) -> int:
    """How many connections wait there."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_a_client_stays_for_its_time(relay: Relayed) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(endpoint()) for _ in range(2)]
        places = [place for _, place in servers]
        port = relay.put("web", *places, affinity=10)

        def ask(source: str, times: int) -> list[int]:
            for _ in range(times):
                with client(port, source=source):
                    relay.turns()
            return [accepted(server) for server, _ in servers]

        first = ask("127.0.0.2", 4)
        assert sorted(first) == [0, 4]
        assert ask("127.0.0.3", 4) == first[::-1]
        relay.pass_time(9)
        assert ask("127.0.0.2", 1) == [count // 4 for count in first]
        relay.pass_time(9)
        assert ask("127.0.0.2", 1) == [count // 4 for count in first]
        chosen = places[first.index(4)]
        relay.put("web", *(place for place in places if place != chosen), affinity=10)
        assert ask("127.0.0.2", 2) == [count // 2 for count in first[::-1]]
        relay.put("web", *places, affinity=10)
        assert ask("127.0.0.2", 2) == [count // 2 for count in first[::-1]]
        relay.pass_time(11)
        relay.put("web", *places)
        assert ask("127.0.0.2", 4) == [2, 2]


def test_endpoints_that_refuse_are_passed_over(relay: Relayed) -> None:
    with endpoint() as (server, place):
        port = relay.put("web", nobody(), nobody(), place)
        for _ in range(3):
            with client(port):
                relay.until(server.accept)[0].close()


def test_a_client_of_endpoints_that_all_refuse_is_reset(relay: Relayed) -> None:
    port = relay.put("web", nobody(), nobody())
    with client(port) as asking, pytest.raises(ConnectionResetError):
        relay.until(lambda: said(asking))
    assert relay.server.room.taken == 0


def test_an_endpoint_that_is_silent_gets_more_time_at_each_attempt(
    relay: Relayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection under way that nobody finishes: a socket that is not even asked to connect."""
    asked: list[Any] = []

    class Silent(socket.socket):
        def connect_ex(self, place: Any) -> int:
            asked.append(place)
            return errno.EINPROGRESS

    def silent(target: Place) -> socket.socket:
        left, right = socket.socketpair()
        right.close()
        os.close(left.detach())
        sock = Silent(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.bind((HERE, 0))
        return sock

    monkeypatch.setattr(tcp, "connecting", silent)
    monkeypatch.setattr(tcp.Dial, "_on_ready", lambda dial, endpoint, events: None)
    with client(relay.put("web", Place("192.0.2.1", 1), Place("192.0.2.2", 1))) as asking:
        relay.turns()
        for number, seconds in enumerate((0.25, 0.5, 1.0, 2.0), 1):
            assert len(asked) == number
            relay.pass_time(seconds - 0.01)
            assert len(asked) == number
            relay.pass_time(0.02)
        assert len(set(asked)) == 2
        with pytest.raises(ConnectionResetError):
            relay.until(lambda: said(asking))


def test_clients_wait_while_there_is_no_room(relay: Relayed) -> None:
    with endpoint() as (server, place), ExitStack() as stack:
        port = relay.put("web", place)
        relay.server.room.largest = 2
        for _ in range(4):
            stack.enter_context(client(port))
        relay.turns(50)
        first = [server.accept()[0] for _ in range(2)]
        with pytest.raises(BlockingIOError):
            server.accept()
        for taken in first:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            taken.close()
        for _ in range(2):
            relay.until(server.accept)[0].close()


def test_accepting_pauses_when_descriptors_run_out(relay: Relayed, monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint() as (server, place):
        port = relay.put("web", place)

        def exhausted(self: socket.socket) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "accept", exhausted)
            with client(port):
                relay.turns()
                patched.undo()
                relay.turns()
                with pytest.raises(BlockingIOError):
                    server.accept()
                relay.pass_time(tcp.PAUSE_SECONDS)
                relay.until(server.accept)[0].close()


def test_a_connection_outlives_its_endpoint_in_the_list_and_its_listener(
    relay: Relayed, pair: tuple[socket.socket, socket.socket]
) -> None:
    asking, answering = pair
    relay.put("web")
    asking.sendall(b"one")
    assert relay.until(lambda: said(answering)) == b"one"
    relay.apply(Request(remove=["web"]))
    relay.turns()
    answering.sendall(b"two")
    assert relay.until(lambda: said(asking)) == b"two"


def test_a_client_that_was_let_in_when_the_listener_closes_is_served(relay: Relayed) -> None:
    with endpoint() as (server, place):
        port = relay.put("web", place)
        with client(port) as asking:
            relay.apply(Request(remove=["web"]))
            answering = relay.until(server.accept)[0]
            with answering:
                answering.sendall(b"hello")
                assert relay.until(lambda: said(asking)) == b"hello"
        with pytest.raises(ConnectionRefusedError), client(port):
            pass


def test_a_listener_without_endpoints_resets(relay: Relayed) -> None:
    with client(relay.put("web")) as asking, pytest.raises(ConnectionResetError):
        relay.until(lambda: said(asking))
