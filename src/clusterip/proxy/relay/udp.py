"""UDP listeners of the relay: each client has a socket of its own towards its endpoint, for as long as it is used.

Stage: none; the relay's data path.  Rules: flows are bounded in number and idle time, those unused longest go first; a
flow whose endpoint the listener allows no more ends at once, and the client's next datagram begins another.
Truth: kpng backends/userspacelin/proxysocket.go; times as conntrack's: there an answer that took longer than 250 ms was
lost.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

from clusterip.proxy.relay.choice import Choice
from clusterip.proxy.relay.loop import INCOMING, Loop
from clusterip.proxy.relay.table import Place
from clusterip.proxy.relay.tcp import EXHAUSTED, family_of

SINGLE_SECONDS = 30.0  # as nf_conntrack_udp_timeout
STREAM_SECONDS = 120.0  # as nf_conntrack_udp_timeout_stream, for flows that are used for longer than...
STREAM_AFTER_SECONDS = 2.0
SWEEP_SECONDS = 1.0
DATAGRAMS_A_TURN = 64
LARGEST = 65535
RECEIVE_BYTES = 1 << 20  # of a listener's buffer, as far as the machine allows
logger = logging.getLogger(__name__)

_buffer = bytearray(LARGEST)
_view = memoryview(_buffer)


class Flow:
    """One client and its endpoint."""

    __slots__ = ("_flows", "_loop", "began", "client", "listener", "sock", "target", "used")

    def __init__(self, flows: Flows, loop: Loop, listener: UdpListener, client: Any, target: Place) -> None:
        self.listener, self.client, self.target = listener, client, target
        self.began = self.used = loop.now()
        self._flows, self._loop = flows, loop
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self.sock = socket.socket(family_of(target.address), kind)
        try:
            self.sock.connect(target)
        except OSError:
            self.sock.close()
            raise
        loop.watch(self.sock.fileno(), self._on_ready, INCOMING)

    def _on_ready(self, events: int) -> None:
        self.go_on()

    def go_on(self) -> None:
        """Hand answers to the client."""
        for _ in range(DATAGRAMS_A_TURN):
            if self.sock.fileno() < 0:
                return
            try:
                size = self.sock.recv_into(_buffer)
            except BlockingIOError:
                return
            except OSError:  # the endpoint refuses
                self._flows.end(self)
                return
            self._flows.use(self)
            self.listener.answer(_view[:size], self.client)
        self._loop.soon(self.go_on)

    def close(self) -> None:
        self._loop.close(self.sock)


class Flows:
    """All flows of the relay, in the order of their last use."""

    def __init__(self, loop: Loop, largest: int) -> None:
        self._loop, self._largest = loop, largest
        self.used = 0  # times
        self._single: dict[tuple[int, Any], Flow] = {}
        self._streams: dict[tuple[int, Any], Flow] = {}
        self._sweeping = False

    def __len__(self) -> int:
        return len(self._single) + len(self._streams)

    def find(self, listener: UdpListener, client: Any) -> Flow | None:
        key = id(listener), client
        return self._single.get(key) or self._streams.get(key)

    def begin(self, listener: UdpListener, client: Any, target: Place) -> Flow:
        """A new flow; the one unused longest makes room."""
        if len(self) >= self._largest:
            self.end(next(iter(self._single.values()), None) or next(iter(self._streams.values())))
        flow = Flow(self, self._loop, listener, client, target)
        self._single[id(listener), client] = flow
        if not self._sweeping:
            self._sweeping = True
            self._loop.at(self._loop.now() + SWEEP_SECONDS, self._sweep)
        return flow

    def use(self, flow: Flow) -> None:
        """It is in use now."""
        self.used += 1
        flow.used = self._loop.now()
        key = id(flow.listener), flow.client
        self._single.pop(key, None)
        self._streams.pop(key, None)
        is_stream = flow.used - flow.began > STREAM_AFTER_SECONDS
        (self._streams if is_stream else self._single)[key] = flow

    def end(self, flow: Flow) -> None:
        key = id(flow.listener), flow.client
        self._single.pop(key, None)
        self._streams.pop(key, None)
        flow.close()

    def of(self, listener: UdpListener) -> Iterator[Flow]:
        """The flows of one listener."""
        every = (*self._single.values(), *self._streams.values())
        return (flow for flow in every if flow.listener is listener)

    def _sweep(self) -> None:
        now = self._loop.now()
        for flows, seconds in ((self._single, SINGLE_SECONDS), (self._streams, STREAM_SECONDS)):
            while flows and now - (oldest := next(iter(flows.values()))).used >= seconds:
                self.end(oldest)
        self._sweeping = bool(len(self))
        if self._sweeping:
            self._loop.at(now + SWEEP_SECONDS, self._sweep)


class UdpListener:
    """One bound socket."""

    def __init__(self, loop: Loop, place: Place, choice: Choice, flows: Flows) -> None:
        self._loop, self._choice, self._flows = loop, choice, flows
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(family_of(place.address), kind)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            self._socket.bind(place)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        loop.watch(self._socket.fileno(), self._on_ready, INCOMING)

    def close(self) -> None:
        for flow in list(self._flows.of(self)):
            self._flows.end(flow)
        self._loop.close(self._socket)

    def settle(self) -> None:
        """End the flows whose endpoint is not allowed any more."""
        allowed = set(self._choice.targets)
        for flow in list(self._flows.of(self)):
            if flow.target not in allowed:
                self._flows.end(flow)

    def answer(self, datagram: memoryview, client: Any) -> None:
        try:
            self._socket.sendto(datagram, client)
        except OSError:
            return  # as on any network, a datagram may be lost

    def _on_ready(self, events: int) -> None:
        self.go_on()

    def go_on(self) -> None:
        """Hand datagrams to endpoints."""
        for _ in range(DATAGRAMS_A_TURN):
            if self._socket.fileno() < 0:
                return
            try:
                size, client = self._socket.recvfrom_into(_buffer)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer was refused
            self._forward(_view[:size], client)
        self._loop.soon(self.go_on)

    def _forward(self, datagram: memoryview, client: Any) -> None:
        flow = self._flows.find(self, client) or self._begin(client)
        if flow is None:
            return
        self._flows.use(flow)
        try:
            flow.sock.send(datagram)
        except BlockingIOError:
            return
        except OSError:  # an earlier datagram was refused
            self._flows.end(flow)

    def _begin(self, client: Any) -> Flow | None:
        target = self._choice.pick(client[0], self._loop.now())
        if target is None:
            return None
        try:
            return self._flows.begin(self, client, target)
        except OSError as error:
            level = logging.WARNING if error.errno in EXHAUSTED else logging.INFO
            logger.log(level, "Cannot open a flow", extra={"kv": {"endpoint": target, "err": error}})
            return None
