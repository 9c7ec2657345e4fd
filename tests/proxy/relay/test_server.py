"""The relay's table: changes in place, ports that stay, ports that are taken, and its end after the proxy's."""

from __future__ import annotations

import socket
import threading

import pytest

from clusterip.proxy.relay import server
from clusterip.proxy.relay.loop import Loop
from clusterip.proxy.relay.server import Control, Server
from clusterip.proxy.relay.table import Listener, Place, Request, parse_answer, render_request
from proxy.relay.inside import HERE, Relayed, client, endpoint

HTTP = Listener("web", "tcp", HERE, (Place(HERE, 9),))


@pytest.fixture
def relay() -> Relayed:
    return Relayed()


def test_a_change_keeps_the_port(relay: Relayed) -> None:
    with endpoint() as (server, place):
        port = relay.put("web", Place(HERE, 9))
        assert relay.put("web", place) == port
        with client(port):
            relay.until(server.accept)[0].close()


def test_a_port_is_taken_again_or_another(relay: Relayed) -> None:
    with endpoint() as (_, place):
        assert relay.apply(Request(put={"web": HTTP}, ports={"web": place.port})).ports["web"] != place.port
        free = place.port
    assert relay.apply(Request(put={"two": HTTP}, ports={"two": free})).ports["two"] == free


def test_what_cannot_be_opened_is_said_and_leaves_the_rest(relay: Relayed) -> None:
    foreign = Listener("web", "tcp", "192.0.2.1", ())
    answer = relay.apply(Request(put={"bad": foreign, "good": HTTP}))
    assert answer.failed == {"bad": "Cannot assign requested address"}
    assert answer.ports.keys() == {"good"}


def test_another_protocol_or_address_is_another_socket(relay: Relayed) -> None:
    first = relay.put("web")
    relay.apply(Request(put={"web": Listener("web", "udp", HERE, ())}))
    relay.turns()
    with pytest.raises(ConnectionRefusedError), client(first):
        pass


def test_descriptors_are_left_for_clients(relay: Relayed) -> None:
    before = relay.server.room.largest
    relay.apply(Request(put={f"web {number}": HTTP for number in range(60)}))
    assert relay.server.room.largest == before - 10
    relay.apply(Request(remove=[f"web {number}" for number in range(60)]))
    assert relay.server.room.largest == before


def test_the_memory_of_a_group_goes_with_its_last_listener(relay: Relayed) -> None:
    for name in ("web/cluster", "web/local"):
        relay.put(name, Place(HERE, 9), group="web", affinity=10)
    relay.apply(Request(remove=["web/local"]))
    assert relay.server._sessions.keys() == {"web"}
    relay.apply(Request(remove=["web/cluster", "unknown"]))
    assert not relay.server._sessions


def test_requests_arrive_in_pieces_and_the_end_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "QUIET_SECONDS", 0.01)
    loop = Loop()
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    Control(loop, Server(loop, descriptors=256), theirs)
    thread = threading.Thread(target=loop.run)
    thread.start()
    request = render_request(Request(put={"web": HTTP}))
    ours.sendall(request[:20])
    ours.sendall(request[20:] + render_request(Request(remove=["web"])))
    text = b""
    while text.count(b"\n") < 2:
        text += ours.recv(1000)
    assert parse_answer(text.split(b"\n")[0]).ports["web"]
    ours.close()
    thread.join(30)
    assert not thread.is_alive()
    theirs.close()


class Clock:
    """Time that passes as it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_proxy_it_goes_on_while_clients_come_and_for_a_minute_at_most() -> None:
    clock, told = Clock(), []
    loop = Loop(clock)
    found = Server(loop, descriptors=256)
    ours, theirs = socket.socketpair()
    Control(loop, found, theirs, lambda: told.append("alone"))
    with endpoint() as (answering, place):
        port = found.apply(Request(put={"web": Listener("web", "tcp", HERE, (place,))})).ports["web"]
        ours.close()
        loop.turn()
        assert told == ["alone"]
        for _ in range(3):
            clock.now += server.QUIET_SECONDS
            with client(port):
                while not found.room.taken:
                    loop.turn()
                answering.setblocking(True)
                answering.accept()[0].close()
            while found.room.taken:
                loop.turn()
            assert loop.running
        with client(port):
            while not found.room.taken:
                loop.turn()
            while clock.now < server.LONGEST_SECONDS:
                assert loop.running
                clock.now += server.QUIET_SECONDS
                loop.soon(lambda: None)
                loop.turn()
        assert not loop.running
