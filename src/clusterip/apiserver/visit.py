"""One request from its head to its end, told at each step to who counts, admits and writes down.

Stage: serve.  In: what the request turns out to be.  Out: when it may go on; its answer, followed to the end.
Rules: a request that stays open holds seats only until it has begun; a client that leaves ends its visit too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clusterip.api.errors import ApiError
from clusterip.apiserver.access import NOBODY, User
from clusterip.apiserver.audit import REQUEST, Told, status_of
from clusterip.apiserver.cache import Collection
from clusterip.apiserver.flow import Lane, TooMany
from clusterip.apiserver.metrics import Sent, Series
from clusterip.apiserver.routing import Route
from clusterip.transport.answers import Answer, Response, Sink, Stream, Takeover
from clusterip.transport.request import Request

if TYPE_CHECKING:
    from clusterip.apiserver.traffic import Traffic

OBJECTS_A_SEAT, WIDEST = 100, 10
PATCHES = "patch.webhook.admission.k8s.io/"
TOO_MANY = "Too many requests, please try again later."
Taker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Crowded(ApiError):
    """Too many requests wait already: said in plain text, as there is no time to find out what is asked for."""

    def __init__(self) -> None:
        super().__init__(429, "TooManyRequests", TOO_MANY, {"retryAfterSeconds": 1})


@dataclass(slots=True)
class Sort:
    """What all requests of a flow to a place share."""

    lane: Lane
    lead: bytes
    series: Series
    stays_open: bool
    lists: Collection | None
    is_read: bool


class Visit:
    """One request while it is here."""

    __slots__ = ("_sent", "_sizes", "_told", "_traffic", "audit_id", "request", "seats", "sort", "started", "waited")

    def __init__(self, traffic: Traffic, request: Request, audit_id: bytes, started: float) -> None:
        self._traffic = traffic
        self._told: Told | None = None
        self._sent: Sent | None = None
        self._sizes: list[int] = []
        self.request = request
        self.audit_id = audit_id
        self.started = started
        self.waited = 0.0
        self.sort: Sort | None = None
        self.seats = 0
        request.lead = b"Audit-Id: %b\r\n" % audit_id

    def recognised(self, user: User, found: Route) -> None:
        """Who asks for what is known: the audit policy decides what is written of it."""
        measures = self._traffic.measures
        measures.believed += 1
        if self.request.peer.expires and user is not NOBODY:
            measures.certificates.observe(self.request.peer.expires - self._traffic.wall())
        policy = self._traffic.policy
        if policy is not None:
            self._told = self._traffic.told(self, user, found, policy)

    def turn(self, user: User, found: Route) -> bool:
        """Whether the request may go on at once; `wait` is for those that may not. `user` is whom it acts as."""
        sort = self.sort = self._traffic.sort(user, found, self.request)
        self.request.lead += sort.lead
        if sort.stays_open:
            if found.verb != "watch":
                return True
            self.request.begun = self.listed if "sendInitialEvents" in self.request.query else self.begun
            self._sent = self._traffic.measures.sent(found.group, found.version, sort.series.place[2])
            self.request.sizes = self._sizes = self._sent.follow()
        seats = 1 if sort.lists is None else _width(sort.lists, found, self.request.query)
        if not self._traffic.gate.enter(sort.lane, seats):
            self.seats = -seats
            return False
        self.seats = seats
        self._traffic.peaks[sort.is_read].moved(1, self.started)
        return True

    async def wait(self) -> None:
        """Until it is this request's turn; ApiError 429 when that takes too long or too many wait already."""
        sort, seats, traffic = self.sort, -self.seats, self._traffic
        assert sort is not None
        self.seats = 0
        try:
            await traffic.waiting(sort, seats)
        except TooMany as error:
            traffic.refused(sort, error.reason)
            raise Crowded from None
        self.seats = seats
        self.waited = traffic.now() - self.started
        traffic.peaks[sort.is_read].moved(1, traffic.now())

    def begun(self) -> None:
        """What stays open has begun: it needs no seats from here on."""
        if self.seats > 0:
            sort = self.sort
            assert sort is not None
            self._traffic.gate.leave(sort.lane, self.seats)
            self._traffic.peaks[sort.is_read].moved(-1, self.started)
            self.seats = 0

    def listed(self) -> None:
        """A watch that tells of the present first has told of it."""
        if self.sort is not None and self.seats > 0:
            self._traffic.listed(self.sort.series, self.started)
        self.begun()

    def judged(self, allowed: bool) -> None:
        """Whether the caller may."""
        measures = self._traffic.measures
        if allowed:
            measures.allowed += 1
        else:
            measures.denied += 1
        if self._told is not None:
            decision = {"authorization.k8s.io/decision": "allow" if allowed else "forbid"}
            self._told.annotations |= {**decision, "authorization.k8s.io/reason": ""}

    def acts_as(self, user: User) -> None:
        if self._told is not None:
            self._told.acting = user

    def annotated(self, said: Mapping[str, str]) -> None:
        """Say in the audit log what admission says of the request; patches, where bodies are written too."""
        told = self._told
        if said and told is not None:
            shows = told.depth.level >= REQUEST
            told.annotations |= {key: text for key, text in said.items() if shows or not key.startswith(PATCHES)}

    def ended(self, given: Answer) -> Answer:
        """The answer is made; one that stays open ends later."""
        if isinstance(given, Response):
            self._finish(given.status, len(given.body), given.body)
            return given
        if self._told is not None:
            self._told.code = 101 if isinstance(given, Takeover) else given.status
            self._traffic.write(self._told, "ResponseStarted")
        if isinstance(given, Stream):
            return Stream(self._followed(given.run), given.status, given.content_type, given.headers)
        return Takeover(self._taken_over(given.run))

    def _followed(self, run: Callable[[Sink], Awaitable[None]]) -> Callable[[Sink], Awaitable[None]]:
        async def running(sink: Sink) -> None:
            with _Held(self, 200):
                await run(sink)

        return running

    def _taken_over(self, run: Taker) -> Taker:
        async def running(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with _Held(self, 101):
                _lead(writer, self.request.lead)
                await run(reader, writer)

        return running

    def opened(self, by: int) -> None:
        if self.sort is not None:
            self.sort.series.open += by

    def _finish(self, code: int, size: int, body: bytes = b"") -> None:
        if self.seats > 0:
            self.begun()
        sort, traffic = self.sort, self._traffic
        if self._sent is not None:
            self._sent.forget(self._sizes)
            self._sent = None
        if sort is not None:
            sort.series.ended(code, traffic.now() - self.started, self.waited, size)
            if sort.series.bodies is not None and self.request.received:
                sort.series.bodies.observe(len(self.request.received))
        else:
            traffic.unknown(code)
        if self._told is not None:
            told = self._told
            told.code, told.request, told.response = code, self.request.received, body
            told.status = status_of(code, body)
            traffic.write(told, "ResponseComplete")

    def left(self) -> None:
        """The client is gone, or the stream over."""
        if self.sort is not None:
            self._traffic.aborted(self.sort.series)
        self._finish(self._told.code if self._told and self._told.code else 499, 0)

    def closed(self, code: int) -> None:
        self._finish(code, 0)


def _lead(writer: asyncio.StreamWriter, lines: bytes) -> None:
    """Have the head that whoever takes the connection over writes first carry these lines too."""
    write = writer.transport.write

    def first(given: bytes) -> None:
        del writer.write
        status, end, rest = bytes(given).partition(b"\r\n")
        write(status + end + lines + rest if end else status)

    writer.write = first  # type: ignore[assignment, method-assign]


class _Held:
    """A request that stays open, for as long as it does."""

    def __init__(self, visit: Visit, code: int) -> None:
        self._visit, self._code = visit, code

    def __enter__(self) -> None:
        self._visit.opened(1)

    def __exit__(self, *error: object) -> None:
        self._visit.opened(-1)
        self._visit.closed(self._code)


def _width(collection: Collection, found: Route, query: Mapping[str, str]) -> int:
    """The seats of a list, by the objects that it looks at; a watch that begins now lists nothing."""
    number = len(collection.entries)
    if number <= OBJECTS_A_SEAT:
        return 1
    if found.verb == "watch" and query.get("sendInitialEvents") != "true" and query.get("resourceVersion", "0") != "0":
        return 1
    limit = query.get("limit", "")
    if limit.isdigit() and 0 < int(limit) < number:
        number = int(limit)
    return min(WIDEST, -(-number // OBJECTS_A_SEAT))
