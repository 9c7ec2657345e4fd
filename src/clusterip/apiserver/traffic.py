"""Each request from its head to its end: whose turn it is, what is counted, what is written down, what its answer says.

Stage: serve; the shell around the verbs.  In: requests and what they turn out to be.  Out: the same answers.
Rules: a request that stays open holds seats only until it has begun; what is the same for many requests is made once.
Truth: apiserver's server/filters (priority-and-fairness, maxinflight) and endpoints/filters (audit, audit_init).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from clusterip.api.errors import ApiError
from clusterip.api.flowdefaults import GROUP
from clusterip.apiserver import audit
from clusterip.apiserver.access import MASTERS, User
from clusterip.apiserver.audit import NONE, Policy, Told, status_of
from clusterip.apiserver.auditlog import AuditLog
from clusterip.apiserver.cache import Change, Collection
from clusterip.apiserver.core import Core
from clusterip.apiserver.flow import Gate, Lane, Level, TooMany
from clusterip.apiserver.flows import Plan, plan_of
from clusterip.apiserver.metrics import Measures, Sent, Series
from clusterip.apiserver.routing import Route
from clusterip.clock import rfc3339_micro
from clusterip.transport.exposition import CONTENT_TYPE, Labels
from clusterip.transport.http import Answer, Request, Response, Sink, Stream, Takeover

READ_ONLY = ("get", "list", "watch", "head")
OPEN = ("exec", "attach", "portforward", "proxy", "log")  # subresources whose requests stay open
MOST_LANES = 4096
SETTLE_SECONDS = 5.0
OBJECTS_A_SEAT, WIDEST = 100, 10
TOO_MANY = "Too many requests, please try again later."
Taker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FOLLOWER = -1  # our place among a collection's watchers


@dataclass(frozen=True, slots=True)
class Operation:
    """What whoever runs the server may set."""

    reading: int = 400
    """Requests at work at once that change nothing."""
    writing: int = 200
    fair: bool = True
    policy: Policy | None = None
    log: AuditLog | None = None


@dataclass(slots=True)
class Sort:
    """What all requests of a flow to a place share."""

    lane: Lane
    lead: bytes
    series: Series
    stays_open: bool
    lists: Collection | None
    is_read: bool


@dataclass(slots=True)
class Peak:
    """The most at once in the last second."""

    now: int = 0
    most: int = 0
    second: int = 0
    before: int = 0

    def moved(self, by: int, moment: float) -> None:
        if moment >= self.second + 1:
            self.before = self.most if moment < self.second + 2 else self.now
            self.second, self.most = int(moment), self.now
        self.now += by
        if self.now > self.most:
            self.most = self.now


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
        self._traffic.measures.believed += 1
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
            self.request.begun = self.begun
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
            raise ApiError(429, "TooManyRequests", TOO_MANY, {"retryAfterSeconds": 1}) from None
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

    def acts_as(self, user: User) -> None:
        if self._told is not None:
            self._told.acting = user

    def annotated(self, key: str, value: str) -> None:
        """Say something of the request in the audit log."""
        if self._told is not None:
            self._told.annotations[key] = value

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
        else:
            traffic.unknown(code)
        if self._told is not None:
            told = self._told
            told.code, told.request, told.response = code, self.request.received, body
            told.status = status_of(code, body)
            traffic.write(told, "ResponseComplete")

    def left(self) -> None:
        """The client is gone, or the stream over."""
        self._finish(self._told.code if self._told and self._told.code else 499, 0)

    def closed(self, code: int) -> None:
        self._finish(code, 0)


class _Held:
    """A request that stays open, for as long as it does."""

    def __init__(self, visit: Visit, code: int) -> None:
        self._visit, self._code = visit, code

    def __enter__(self) -> None:
        self._visit.opened(1)

    def __exit__(self, *error: object) -> None:
        self._visit.opened(-1)
        self._visit.closed(self._code)


class Traffic:
    """All requests."""

    def __init__(self, core: Core, operation: Operation) -> None:
        self._core = core
        self._operation = operation
        self.now = core.clock.monotonic
        self._ids, self._number = _ids(core), 0
        self.policy = operation.policy if operation.log is not None else None
        self.gate = Gate(self.now)
        self.measures = Measures(core.clock.now().timestamp())
        self.peaks = (Peak(), Peak())  # of writing, of reading
        self.queued = (Peak(), Peak())
        self._plan: Plan | None = None
        self._by_kind: tuple[Level, Level] | None = None
        self._sorts: dict[tuple[object, ...], Sort] = {}
        self._lanes: list[Lane] = []
        for plural in ("flowschemas", "prioritylevelconfigurations"):
            collection = core.registry.of(plural, GROUP)
            if collection is not None:
                collection.watchers[FOLLOWER] = self._changed
        self._show()

    def begin(self, request: Request) -> Visit:
        """A request has come."""
        given = request.headers.get("Audit-Id")
        if given is not None and given.isascii() and given.isprintable():
            return Visit(self, request, given[:64].encode(), self.now())
        self._number += 1
        return Visit(self, request, b"%b%012x" % (self._ids, self._number), self.now())

    def _changed(self, change: Change) -> None:
        if change.kind != "MODIFIED" or change.old is None or _spec(change.old) != _spec(change.entry):
            self._plan = None
            self._sorts.clear()

    def plan(self) -> Plan:
        """The schemas and levels, as they are kept now."""
        if self._plan is None:
            kept = [self._core.registry.of(plural, GROUP) for plural in ("flowschemas", "prioritylevelconfigurations")]
            schemas, levels = ([entry.tree() for entry in (each.entries.values() if each else ())] for each in kept)
            before = {level.name: level for level in self.gate.levels}
            seats = self._operation.reading + self._operation.writing
            self._plan = plan_of(schemas, levels, seats, before)
            self.gate.use(self._plan.levels.values())
        return self._plan

    def sort(self, user: User, found: Route, request: Request) -> Sort:
        """What requests like this share."""
        target, media = request.target, request.headers.get("Content-Type", "") if found.verb == "patch" else ""
        dry_run = "All" if "dryRun" in target and request.query.get("dryRun") == "All" else ""
        place = found.path if not found.resource else bool(found.name)
        key = (user, found.verb, found.group, found.version, found.resource, found.subresource, found.namespace)
        known = self._sorts.get((*key, place, media, dry_run))
        if known is None:
            known = self._sorted(user, found, "apply-patch" in media, dry_run)
            if len(self._sorts) >= MOST_LANES:
                self._sorts.clear()
            self._sorts[(*key, place, media, dry_run)] = known
        return known

    def _sorted(self, user: User, found: Route, applies: bool, dry_run: str) -> Sort:
        served = self._core.registry.find(found.group, found.version, found.resource)
        lane = self._same(self.plan().lane(user, found) if self._operation.fair else self._plain(user, found))
        lead = _lead(lane) if self._operation.fair else b""
        stays_open = found.verb == "watch" or found.subresource in OPEN
        lists = served.collection if served is not None and found.verb in ("list", "watch") and not found.name else None
        series = self.measures.series(found, served is not None, applies=applies, dry_run=dry_run)
        return Sort(lane, lead, series, stays_open, lists, found.verb in READ_ONLY)

    def _plain(self, user: User, found: Route) -> Lane:
        """Without fairness: those who read, those who write, and those who are never refused."""
        if self._by_kind is None:
            operation = self._operation
            self._by_kind = (Level("mutating", nominal=operation.writing), Level("readOnly", nominal=operation.reading))
            self.gate.use(self._by_kind)
        if MASTERS in user.groups:
            return Lane(Level("exempt", exempt=True), "exempt")
        return Lane(self._by_kind[found.verb in READ_ONLY], "none")

    def _same(self, lane: Lane) -> Lane:
        """The lane that was made before for this flow, if there is one."""
        for known in self._lanes:
            if known.level is lane.level and known.schema == lane.schema and known.cards == lane.cards:
                return known
        self._lanes = [each for each in self._lanes if each.requests or each.waiting or len(self._lanes) < MOST_LANES]
        self._lanes.append(lane)
        return lane

    async def waiting(self, sort: Sort, seats: int) -> None:
        began, peak = self.now(), self.queued[sort.is_read]
        peak.moved(1, began)
        told = "false"
        try:
            await self.gate.wait(sort.lane, seats)
            told = "true"
        finally:
            peak.moved(-1, self.now())
            names = (sort.lane.level.name, sort.lane.schema, told)
            histogram = self.measures.registry.histogram("apiserver_flowcontrol_request_wait_duration_seconds", *names)
            histogram.observe(self.now() - began)

    def refused(self, sort: Sort, reason: str) -> None:
        registry, series = self.measures.registry, sort.series
        level, schema = sort.lane.level.name, sort.lane.schema
        registry.add("apiserver_flowcontrol_rejected_requests_total", level, schema, reason)
        registry.add("apiserver_request_terminations_total", series.verb, *series.place, "429")

    def unknown(self, code: int) -> None:
        """A request of nobody who is believed."""
        if code == 401:
            self.measures.disbelieved += 1

    # --- audit

    def told(self, visit: Visit, user: User, found: Route, policy: Policy) -> Told | None:
        depth = policy.depth(user, found)
        self.measures.registry.count("apiserver_audit_level_total", level=audit.LEVELS[depth.level])
        if depth.level == NONE:
            return None
        request = visit.request
        agent = request.headers.get("User-Agent", "")
        moment, address = rfc3339_micro(self._core.clock.now()), request.peer.address
        told = Told(visit.audit_id.decode(), depth, request.target, found.verb, user, found, moment, address, agent)
        self.write(told, "RequestReceived")
        return told

    def write(self, told: Told, stage: str) -> None:
        log = self._operation.log
        if log is not None and stage not in told.depth.omitted:
            self.measures.registry.count("apiserver_audit_event_total")
            log.add(told.event(stage, rfc3339_micro(self._core.clock.now())))

    # --- numbers

    async def run(self) -> None:
        """Keep what watchers note short, for the server's life."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            self.measures.settle()

    def metrics(self) -> Response:
        self.measures.settle()
        return Response(200, self.measures.registry.render().encode(), CONTENT_TYPE)

    def _show(self) -> None:
        """What is read when it is asked for."""
        follow = self.measures.registry.follow
        follow("apiserver_resource_objects", self._objects)
        follow("apiserver_storage_objects", lambda: {(_qualified(*key),): n for key, n in self._objects().items()})
        follow("apiserver_registered_watchers", self._watchers)
        follow("apiserver_current_inflight_requests", lambda: self._most(self.peaks))
        follow("apiserver_current_inqueue_requests", lambda: self._most(self.queued))
        follow(
            "apiserver_audit_error_total", lambda: {("log",): self._operation.log.lost if self._operation.log else 0}
        )
        for name, read in PER_LANE.items():
            follow(f"apiserver_flowcontrol_{name}", lambda read=read: self._by_flow(read))  # type: ignore[misc]
        for name, limit in PER_LEVEL.items():
            follow(f"apiserver_flowcontrol_{name}", lambda limit=limit: self._by_level(limit))  # type: ignore[misc]

    def _most(self, peaks: tuple[Peak, Peak]) -> Mapping[Labels, float]:
        for peak in peaks:
            peak.moved(0, self.now())
        return {("mutating",): max(peaks[0].before, peaks[0].most), ("readOnly",): max(peaks[1].before, peaks[1].most)}

    def _objects(self) -> dict[Labels, float]:
        collections = self._core.registry.collections.items()
        return {tuple(key.partition("/")[::2]): float(len(each.entries)) for key, each in collections}

    def _watchers(self) -> Mapping[Labels, float]:
        found: dict[Labels, float] = {}
        for served in self._core.registry.served.values():
            resource, watchers = served.resource, served.collection.watchers
            if not resource.storage and (number := sum(key > 0 for key in watchers)):
                found[resource.group, resource.version, resource.kind] = float(number)
        return found

    def _by_flow(self, read: Callable[[Lane], float]) -> Mapping[Labels, float]:
        found: dict[Labels, float] = {}
        for lane in self._lanes:
            key = (lane.level.name, lane.schema)
            found[key] = found.get(key, 0.0) + read(lane)
        return found

    def _by_level(self, read: Callable[[Gate, object], float]) -> Mapping[Labels, float]:
        if self._operation.fair:
            self.plan()
        return {(level.name,): float(read(self.gate, level)) for level in self.gate.levels}


PER_LANE: dict[str, Callable[[Lane], float]] = {
    "dispatched_requests_total": lambda lane: lane.dispatched,
    "current_executing_requests": lambda lane: lane.requests,
    "current_executing_seats": lambda lane: lane.seats,
    "current_inqueue_requests": lambda lane: lane.waiting,
    "current_inqueue_seats": lambda lane: lane.waiting_seats,
}
PER_LEVEL: dict[str, Callable[..., float]] = {
    "nominal_limit_seats": lambda gate, level: level.nominal,
    "lower_limit_seats": lambda gate, level: level.nominal - level.lendable,
    "upper_limit_seats": lambda gate, level: level.nominal + (level.borrowable or 0),
    "current_limit_seats": lambda gate, level: gate.limit(level),
}


def _lead(lane: Lane) -> bytes:
    schema, level = lane.uid, lane.level.uid
    if not schema:
        return b""
    return f"X-Kubernetes-Pf-Flowschema-Uid: {schema}\r\nX-Kubernetes-Pf-Prioritylevel-Uid: {level}\r\n".encode()


def _ids(core: Core) -> bytes:
    """What all Audit-Ids of a run begin with: the first three parts of a UUID, then come the numbers of requests."""
    return str(uuid.UUID(int=core.random.getrandbits(128), version=4))[:24].encode()


def _spec(entry: object) -> object:
    tree = entry.tree()  # type: ignore[attr-defined]
    return tree.get("spec"), tree["metadata"].get("uid")


def _qualified(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


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
