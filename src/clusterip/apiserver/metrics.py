"""What the API server counts, by the names that dashboards and alerts of Kubernetes know.

Stage: status.  In: requests that ended, watchers, the store's writes.  Out: /metrics.
Rules: names, labels and bounds are upstream's, words are ours; label values come from what is served, never from what a
       client may invent; a request costs a few look-ups and additions, what can be read when asked for is read then.
Truth: metrics.go of apiserver's endpoints, storage, audit, flowcontrol and admission packages, of 1.36.
"""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from clusterip.apiserver import admissionnumbers
from clusterip.apiserver.routing import Route
from clusterip.transport.exposition import Histogram, Kind, Labels, Metric, Registry, doubling

COUNTER, GAUGE, HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
SLI = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
DURATION = (0.005, 0.025, *SLI)
SIZES = tuple(1000 * 10.0**power for power in range(7))
CERTIFICATES = (0, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800, 2592000, 7776000, 15552000, 31104000)
WAITS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
BODIES = tuple(float(size) for size in range(50_000, 3_050_001, 100_000))
LISTS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 15, 20, 30, 45, 60)
PLACE = ("group", "version", "resource", "subresource", "scope", "component")
FLOW = ("priority_level", "flow_schema")
LEVEL = ("priority_level",)
STABLE, BETA, ALPHA = "STABLE", "BETA", "ALPHA"

METRICS = (
    Metric("apiserver_request_total", COUNTER, "Requests answered, by what was asked and the answer's code.",
           ("verb", "dry_run", *PLACE, "code"), stability=STABLE),
    Metric("apiserver_request_duration_seconds", HISTOGRAM, "Seconds until a request was answered.",
           ("verb", "dry_run", *PLACE), DURATION, stability=STABLE),
    Metric("apiserver_request_sli_duration_seconds", HISTOGRAM,
           "Seconds until a request was answered, without those that webhooks took and those in a queue.",
           ("verb", *PLACE), SLI),
    Metric("apiserver_response_sizes", HISTOGRAM, "Bytes of answers to get and list.", ("verb", *PLACE), SIZES,
           stability=STABLE),
    Metric("apiserver_request_body_size_bytes", HISTOGRAM, "Bytes of what requests bring.",
           ("group", "resource", "verb"), BODIES),
    Metric("apiserver_watch_list_duration_seconds", HISTOGRAM, "Seconds until a watch had sent what there was.",
           ("group", "version", "resource", "scope"), LISTS, stability=BETA),
    Metric("apiserver_longrunning_requests", GAUGE, "Requests that stay open, such as watches, now.",
           ("verb", *PLACE), stability=STABLE),
    Metric("apiserver_current_inflight_requests", GAUGE, "Most requests at work at once in the last second.",
           ("request_kind",), stability=STABLE),
    Metric("apiserver_current_inqueue_requests", GAUGE, "Most requests waiting at once in the last second.",
           ("request_kind",)),
    Metric("apiserver_request_terminations_total", COUNTER, "Requests that the server refused to protect itself.",
           ("verb", *PLACE, "code")),
    Metric("apiserver_request_aborts_total", COUNTER, "Requests whose client left before the answer.",
           ("verb", *PLACE[:-1])),
    Metric("apiserver_tls_handshake_errors_total", COUNTER, "Connections that never became TLS."),
    Metric("apiserver_watch_events_total", COUNTER, "Events sent to watchers.", ("group", "version", "resource")),
    Metric("apiserver_watch_events_sizes", HISTOGRAM, "Bytes of events sent to watchers.",
           ("group", "version", "resource"), doubling(1024, 8)),
    Metric("apiserver_terminated_watchers_total", COUNTER, "Watches cut off because nobody read them.",
           ("group", "resource")),
    Metric("apiserver_requested_deprecated_apis", GAUGE, "Deprecated parts of the API that somebody asked for.",
           ("group", "version", "resource", "subresource", "removed_release"), stability=STABLE),
    Metric("apiserver_client_certificate_expiration_seconds", HISTOGRAM,
           "Seconds for which the certificates that came with requests are good still.", (), CERTIFICATES),
    Metric("apiserver_registered_watchers", GAUGE, "Watches open now.", ("group", "version", "kind")),
    Metric("apiserver_storage_objects", GAUGE, "Objects kept, by resource.", ("resource",), stability=STABLE),
    Metric("apiserver_resource_objects", GAUGE, "Objects kept, by group and resource.", ("group", "resource")),
    Metric("apiserver_storage_size_bytes", GAUGE, "Bytes of the store on its medium.", ("storage_cluster_id",),
           stability=STABLE),
    Metric("etcd_request_duration_seconds", HISTOGRAM, "Seconds that the store took for a group of writes.",
           ("operation", "group", "resource"), DURATION),
    Metric("etcd_requests_total", COUNTER, "Groups of writes that the store was given.",
           ("operation", "group", "resource")),
    Metric("etcd_request_errors_total", COUNTER, "Groups of writes that the store refused.",
           ("operation", "group", "resource")),
    Metric("apiserver_audit_event_total", COUNTER, "Audit events made."),
    Metric("apiserver_audit_error_total", COUNTER, "Audit events that could not be kept.", ("plugin",)),
    Metric("apiserver_audit_level_total", COUNTER, "Requests, by the level the audit policy gives them.", ("level",)),
    Metric("apiserver_audit_requests_rejected_total", COUNTER, "Requests refused because they could not be audited."),
    Metric("authentication_attempts", COUNTER, "Attempts to be somebody, by what came of them.", ("result",)),
    Metric("authenticated_user_requests", COUNTER, "Requests of users who are known, by kind of user.", ("username",)),
    Metric("authorization_attempts_total", COUNTER, "Requests that were judged by who asks.", ("result",)),
    *admissionnumbers.METRICS,
    Metric("aggregator_unavailable_apiservice", GAUGE, "Whether another server that serves a part of the API is away.",
           ("name",)),
    Metric("aggregator_unavailable_apiservice_total", COUNTER, "How often such a server went away, and why.",
           ("name", "reason")),
    Metric("apiserver_flowcontrol_rejected_requests_total", COUNTER, "Requests refused because too many waited.",
           (*FLOW, "reason"), stability=BETA),
    Metric("apiserver_flowcontrol_dispatched_requests_total", COUNTER, "Requests let through.", FLOW, stability=BETA),
    Metric("apiserver_flowcontrol_current_inqueue_requests", GAUGE, "Requests waiting now.", FLOW, stability=BETA),
    Metric("apiserver_flowcontrol_current_inqueue_seats", GAUGE, "Seats that waiting requests want.", FLOW),
    Metric("apiserver_flowcontrol_current_executing_requests", GAUGE, "Requests at work now.", FLOW, stability=BETA),
    Metric("apiserver_flowcontrol_current_executing_seats", GAUGE, "Seats taken now.", FLOW, stability=BETA),
    Metric("apiserver_flowcontrol_request_wait_duration_seconds", HISTOGRAM, "Seconds that requests waited.",
           (*FLOW, "execute"), WAITS, stability=BETA),
    Metric("apiserver_flowcontrol_nominal_limit_seats", GAUGE, "Seats of a level.", LEVEL, stability=BETA),
    Metric("apiserver_flowcontrol_lower_limit_seats", GAUGE, "Seats of a level that it never lends.", LEVEL),
    Metric("apiserver_flowcontrol_upper_limit_seats", GAUGE, "Seats of a level with all that it may borrow.", LEVEL),
    Metric("apiserver_flowcontrol_current_limit_seats", GAUGE, "Seats that a level may take now.", LEVEL),
    Metric("process_cpu_seconds_total", COUNTER, "Seconds of processor time.", stability=""),
    Metric("process_resident_memory_bytes", GAUGE, "Bytes of memory in use.", stability=""),
    Metric("process_virtual_memory_bytes", GAUGE, "Bytes of address space.", stability=""),
    Metric("process_open_fds", GAUGE, "Files open.", stability=""),
    Metric("process_max_fds", GAUGE, "Files that may be open.", stability=""),
    Metric("process_start_time_seconds", GAUGE, "When the process began.", stability=""),
    Metric("kubernetes_build_info", GAUGE, "What this server is.", ("major", "minor", "git_version", "platform"),
           stability=""),
)  # fmt: skip

VERBS = {"get": "GET", "head": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
VERBS |= {"deletecollection": "DELETE", "list": "LIST", "watch": "WATCH"}
CONNECTS = ("log", "exec", "portforward", "attach", "proxy")
ROOTS = ("api", "apis", "healthz", "livez", "readyz", "metrics", "openapi", "version", ".well-known", "openid")
BRING = ("create", "update", "patch", "delete", "deletecollection")
READ = ("get", "list", "head")


def scope_of(found: Route) -> str:
    """How wide a request looks."""
    if found.name or found.verb == "create":
        return "resource"
    return ("namespace" if found.namespace else "cluster") if found.resource else ""


def verb_of(found: Route, *, applies: bool = False) -> str:
    """The verb as the numbers call it; a method that nobody knows is `other`."""
    if found.subresource in CONNECTS:
        return "CONNECT"
    return "APPLY" if applies else VERBS.get(found.verb, "other")


def place_of(found: Route, known: bool) -> Labels:
    """The labels of where a request goes; what is not served is one place, whatever its name."""
    if found.resource and known:
        return (found.group, found.version, found.resource, found.subresource, scope_of(found), "apiserver")
    if found.resource:
        return ("", "", "", "", "", "apiserver")
    root = found.path.split("/")[1] if found.path.startswith("/") else ""
    return ("", "", "", f"/{root}" if root in ROOTS else "", "", "apiserver")


@dataclass(slots=True)
class Series:
    """The numbers of one sort of request, at hand."""

    verb: str
    place: Labels
    duration: Histogram
    sli: Histogram
    sizes: Histogram | None
    bodies: Histogram | None = None
    """Of what requests bring."""
    dry_run: str = ""
    codes: dict[int, int] = field(default_factory=dict)
    open: int = 0

    def ended(self, code: int, seconds: float, waited: float, size: int) -> None:
        """A request of this sort was answered."""
        codes = self.codes
        codes[code] = codes.get(code, 0) + 1
        duration, sli, sizes = self.duration, self.sli, self.sizes
        if seconds <= 0.005:  # most requests, at once
            duration.counts[0] += 1
            sli.counts[0] += 1
            duration.total += seconds
            sli.total += seconds
        else:
            duration.observe(seconds)
            sli.observe(seconds - waited)
        if sizes is not None:
            sizes.observe(size)


@dataclass(slots=True)
class Sent:
    """The numbers of one resource's watchers. Each has a list that it adds to: nothing is cheaper."""

    histogram: Histogram
    events: int = 0
    lists: list[list[int]] = field(default_factory=list)

    def follow(self) -> list[int]:
        """A watcher's list of sizes."""
        self.lists.append([])
        return self.lists[-1]

    def forget(self, sizes: list[int]) -> None:
        """The watcher is gone."""
        self.take(sizes)
        self.lists[:] = [each for each in self.lists if each is not sizes]

    def take(self, sizes: list[int]) -> None:
        """Count what a list holds."""
        histogram = self.histogram
        for size, times in Counter(sizes).items():
            histogram.counts[bisect_left(histogram.bounds, size)] += times
            histogram.total += size * times
        self.events += len(sizes)
        sizes.clear()


class Measures:
    """All numbers of a server."""

    def __init__(self, started: float) -> None:
        self.registry = Registry(METRICS)
        self._series: dict[tuple[str, str, Labels], Series] = {}
        self._sent: dict[Labels, Sent] = {}
        self.believed = self.disbelieved = self.allowed = self.denied = 0
        registry = self.registry
        self.certificates = registry.histogram("apiserver_client_certificate_expiration_seconds")
        registry.follow("authentication_attempts", lambda: {("success",): self.believed, ("error",): self.disbelieved})
        registry.follow(
            "authorization_attempts_total", lambda: {("allowed",): self.allowed, ("no-opinion",): self.denied}
        )
        registry.follow("apiserver_request_total", self._requests)
        registry.follow("apiserver_longrunning_requests", self._open)
        registry.follow("apiserver_watch_events_total", lambda: {key: sent.events for key, sent in self._sent.items()})
        registry.put("process_start_time_seconds", started)
        for name, read in PROCESS.items():
            registry.follow(name, partial(_alone, read))

    def series(self, found: Route, known: bool, *, applies: bool = False, dry_run: str = "") -> Series:
        """Where requests like this are counted."""
        verb, place = verb_of(found, applies=applies), place_of(found, known)
        series = self._series.get((verb, dry_run, place))
        if series is None:
            histogram = self.registry.histogram
            sizes = histogram("apiserver_response_sizes", verb, *place) if found.verb in READ else None
            brings = known and found.resource and found.verb in BRING
            series = Series(
                verb,
                place,
                histogram("apiserver_request_duration_seconds", verb, dry_run, *place),
                histogram("apiserver_request_sli_duration_seconds", verb, *place),
                sizes,
                histogram("apiserver_request_body_size_bytes", place[0], place[2], found.verb) if brings else None,
                dry_run,
            )
            self._series[verb, dry_run, place] = series
        return series

    def deprecated(self, place: Labels, removed: str) -> None:
        """Somebody asked for a part of the API that is to go."""
        group, version, plural, sub, *_ = place
        labels = {"group": group, "version": version, "resource": plural, "subresource": sub}
        self.registry.put("apiserver_requested_deprecated_apis", 1, **labels, removed_release=removed)

    def sent(self, group: str, version: str, plural: str) -> Sent:
        """Where events of a resource are counted."""
        key = (group, version, plural)
        if key not in self._sent:
            self._sent[key] = Sent(self.registry.histogram("apiserver_watch_events_sizes", *key))
        return self._sent[key]

    def settle(self) -> None:
        """Count what watchers have noted: before the numbers are shown, and now and then."""
        for sent in self._sent.values():
            for sizes in sent.lists:
                if sizes:
                    sent.take(sizes)

    def _requests(self) -> Mapping[Labels, float]:
        return {
            (series.verb, series.dry_run, *series.place, str(code)): number
            for series in self._series.values()
            for code, number in series.codes.items()
        }

    def _open(self) -> Mapping[Labels, float]:
        held = [series for series in self._series.values() if series.verb in ("WATCH", "CONNECT")]
        return {(series.verb, *series.place): series.open for series in held}


def _alone(read: Callable[[], float]) -> Mapping[Labels, float]:
    return {(): read()}


def _statm(column: int) -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[column]) * float(resource.getpagesize())


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


PROCESS = {
    "process_cpu_seconds_total": _cpu,
    "process_resident_memory_bytes": lambda: _statm(1),
    "process_virtual_memory_bytes": lambda: _statm(0),
    "process_open_fds": lambda: float(len(os.listdir("/proc/self/fd"))),
    "process_max_fds": lambda: float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
}
