"""Each request from its head to its end: whose turn it is, what is counted, what is written down, what its answer says.

Stage: serve; the shell around the verbs.  In: requests and what they turn out to be.  Out: the same answers.
Rules: a request that stays open holds seats only until it has begun; what is the same for many requests is made once.
Truth: apiserver's server/filters (priority-and-fairness, maxinflight) and endpoints/filters (audit, audit_init).
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass

from clusterip.api.flowdefaults import GROUP
from clusterip.apiserver import audit
from clusterip.apiserver.access import MASTERS, User
from clusterip.apiserver.admissionnumbers import AdmissionNumbers
from clusterip.apiserver.audit import NONE, Policy, Told
from clusterip.apiserver.auditlog import AuditLog
from clusterip.apiserver.cache import Change
from clusterip.apiserver.core import Core
from clusterip.apiserver.flow import Gate, Lane, Level
from clusterip.apiserver.flows import Plan, plan_of
from clusterip.apiserver.metrics import Measures, Series
from clusterip.apiserver.numbers import Known, Peak, show
from clusterip.apiserver.routing import Route
from clusterip.apiserver.visit import Sort, Visit
from clusterip.clock import rfc3339_micro
from clusterip.transport.answers import Response
from clusterip.transport.exposition import CONTENT_TYPE
from clusterip.transport.handshakes import Handshakes
from clusterip.transport.request import Request

READ_ONLY = ("get", "list", "watch", "head")
OPEN = ("exec", "attach", "portforward", "proxy", "log")  # subresources whose requests stay open
MOST_LANES = 4096
SETTLE_SECONDS = 5.0
COMMIT = ("commit", "", "")  # what the store is asked to do, for objects of any kind
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
        core.writes.timed = self._stored
        core.numbers = AdmissionNumbers(self.measures.registry)
        self.measures.registry.follow("apiserver_terminated_watchers_total", lambda: core.cut_off)
        self.handshakes = Handshakes()
        lost = lambda: operation.log.lost if operation.log else 0  # noqa: E731
        failed = lambda: self.handshakes.failed  # noqa: E731
        lanes = lambda: self._lanes  # noqa: E731
        known = Known(core.registry, core.store, self.gate, lanes, self.peaks, self.queued, self.now, lost, failed)
        show(self.measures.registry, known)

    def wall(self) -> float:
        """Seconds since 1970."""
        return self._core.clock.now().timestamp()

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
        if served is not None and served.resource.deprecation:
            self.measures.deprecated(series.place, "")
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

    def aborted(self, series: Series) -> None:
        """A request of this sort ended without its answer."""
        self.measures.registry.add("apiserver_request_aborts_total", series.verb, *series.place[:-1])

    def listed(self, series: Series, began: float) -> None:
        """A watch of this sort has sent what there was."""
        group, version, plural, _, scope, _ = series.place
        labels = (group, version, plural, scope)
        self.measures.registry.histogram("apiserver_watch_list_duration_seconds", *labels).observe(self.now() - began)

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

    def _stored(self, seconds: float, kept: bool) -> None:
        registry = self.measures.registry
        registry.histogram("etcd_request_duration_seconds", *COMMIT).observe(seconds)
        registry.add("etcd_requests_total", *COMMIT)
        if not kept:
            registry.add("etcd_request_errors_total", *COMMIT)

    def metrics(self) -> Response:
        if self._operation.fair:
            self.plan()
        self.measures.settle()
        return Response(200, self.measures.registry.render().encode(), CONTENT_TYPE)


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
