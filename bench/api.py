"""The API server's figures: reads, durable writes, watchers, memory and start, each beside a reference of the same run.

References: nothing but TLS for GET, the bare store for writes, kube-apiserver with etcd where it can be found.
Rules: two cores: the server has one, the load the other; nothing else runs meanwhile.  QUICK=1 makes everything small.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bench.apiload import Caller, Load, compiled, pod_template, watchers, wrk
from bench.apipeers import Peer, bare, bare_store, folder, missing, ours, theirs
from bench.figure import Figure

QUICK = os.environ.get("QUICK", "") not in ("", "0")
PODS, POD_SIZE = (500 if QUICK else 10_000), 10_000
SERVICES = 200 if QUICK else 10_000
MAPS = 2000 if QUICK else 20_000
SECONDS = 2.0 if QUICK else 8.0
WATCHERS, EVENTS = (50, 20) if QUICK else (1000, 100)
STORED = (40, 80, 40) if QUICK else (2000, 4000, 2000)  # pods, maps, Services with slices: 10,000 objects
MAP_SIZE, SERVICE_SIZE = 500, 900  # of what is kept
EVENT_SIZE = 600
LISTS = 5
NAMESPACE = "/api/v1/namespaces/default"
Begun = tuple[float, float]
"""Seconds until ready, over the usual store and over the large one."""


@dataclass
class Shown:
    """What one server showed."""

    loads: dict[str, Load] = field(default_factory=dict)
    list: float = 0.0
    size: int = 0
    memory: float = 0.0
    told: dict[str, float] = field(default_factory=dict)


async def api() -> list[Figure]:
    """Every figure."""
    lacking = missing()
    print(f"    kube-apiserver is not measured: {lacking}" if lacking else "    kube-apiserver is measured too")
    with folder() as place:
        program = compiled(place)
        alone = [_ready(place / f"alone-{number}") for number in range(5)]
        with ours(place / "state") as (peer, _):
            mine = measured(peer, program, place)
        begun = (_filled(place / "stored"), _ready(place / "state"))
        real = None
        if not lacking:
            (place / "real").mkdir()
            with theirs(place / "real") as peer:
                real = measured(peer, program, place)
        references = _references(place, program)
    return figures(mine, real, references, sorted(alone)[2], begun)


def _ready(state: Path) -> float:
    with ours(state) as (_, seconds):
        return seconds


def _filled(state: Path) -> float:
    """Ready over a store of the usual size, once it is filled."""
    pods, maps, services = STORED
    template = state.with_name("pod.json")
    with ours(state) as (peer, _):
        Caller(peer).create(f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
        wrk(peer, "pods", 16, pods, str(template))
        wrk(peer, "configmaps", 16, maps, str(_map(state.parent)))
        wrk(peer, "services", 16, services)
    return sorted(_ready(state) for _ in range(3))[1]


def measured(peer: Peer, program: Path, place: Path) -> Shown:
    """All loads on one server, one after the other."""
    shown, caller = Shown(), Caller(peer)
    caller.create(f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
    template = place / "pod.json"
    template.write_text(pod_template(POD_SIZE))

    def load(name: str, what: str, connections: int, total: int, *words: str, seconds: float = 0.0) -> None:
        given = {"seconds": seconds} if seconds else {}
        found = shown.loads[name] = wrk(peer, what, connections, total, *words, **given)
        print(f"    {peer.name}: {name} {found}", flush=True)

    load("pods", "pods", 16, PODS, str(template))
    size = caller.get(f"{NAMESPACE}/pods/pod-1")[1]
    print(f"    {peer.name}: a pod has {size} bytes; resident {peer.resident():.0f} MB", flush=True)
    load("get1", "get", 1, PODS, seconds=SECONDS)
    load("get32", "get", 32, PODS, seconds=SECONDS)
    load("patch1", "patch", 1, PODS, seconds=SECONDS)
    load("patch16", "patch", 16, PODS, seconds=SECONDS)
    shown.memory = peer.resident()
    listed = [caller.get("/api/v1/pods") for _ in range(LISTS)]
    shown.list, shown.size = min(listed)
    print(
        f"    {peer.name}: list {shown.list:.3f} s; resident {shown.memory:.0f} -> {peer.resident():.0f} MB", flush=True
    )
    load("configmaps", "configmaps", 16, MAPS, str(_map(place)))
    load("services", "services", 16, SERVICES)
    shown.told = watchers(peer, program, WATCHERS, EVENTS, SECONDS)
    print(f"    {peer.name}: watchers {shown.told}", flush=True)
    return shown


def _map(place: Path) -> Path:
    path = place / "map.json"
    path.write_text('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"map-NUMBER"},"data":{"key":"NUMBER"}}')
    return path


def _references(place: Path, program: Path) -> dict[str, float]:
    """What is possible here without an API."""
    found: dict[str, float] = {}
    with bare(place, "fan", EVENT_SIZE) as peer:
        found["told"] = watchers(peer, program, WATCHERS, EVENTS, SECONDS)["p99"]
    with bare(place, "echo", POD_SIZE) as peer:
        for connections in (1, 32):
            found[f"get{connections}"] = wrk(peer, "get", connections, PODS, seconds=SECONDS / 2).rate
    for name, size, at_once, fresh, count in (
        ("patch1", POD_SIZE, 1, False, 1000),
        ("patch16", POD_SIZE, 16, False, 8000),
        ("configmaps", MAP_SIZE, 16, True, 16_000),
        ("services", SERVICE_SIZE, 16, True, 16_000),
    ):
        found[name] = bare_store(
            place / f"bare-{name}.db", size, at_once, fresh=fresh, count=count // 10 if QUICK else count
        )
    return found


GOALS = (
    ("GET pod, 32 connections", "get32", 10_000),
    ("GET pod, 1 connection", "get1", 4000),
    ("PATCH pod, 16 connections", "patch16", 1500),
    ("PATCH pod, 1 connection", "patch1", 700),
    ("CREATE ConfigMap, 16 connections", "configmaps", 3000),
    (f"CREATE {SERVICES} Services with EndpointSlices, 16 connections", "services", 1500),
    (f"CREATE {PODS} pods of 10 kB, 16 connections", "pods", None),
)


def figures(mine: Shown, real: Shown | None, alone: dict[str, float], ready: float, begun: Begun) -> list[Figure]:
    """Ours beside what else was measured in this run."""
    found = []
    for subject, name, goal in GOALS:
        peer = f"{'TLS echo' if name.startswith('get') else 'bare store'} {alone[name]:.0f}/s" if name in alone else ""
        found.append(Figure(subject, mine.loads[name].rate, "/s", goal, _beside(peer, real, name), is_rate=True))
    slowest = max(mine.loads[name].p99 for name in ("patch1", "patch16"))
    other = f"kube-apiserver + etcd {real.loads['patch16'].p99:.0f} ms" if real else ""
    found.append(Figure("PATCH pod, p99", slowest, "ms", 30, other))
    faults = sum(load.faults for load in mine.loads.values())
    found.append(Figure("requests that failed", faults, "", 0))
    other = f"kube-apiserver + etcd {real.list:.2f} s" if real else ""
    found.append(Figure(f"LIST of {PODS} pods, {mine.size / 1e6:.0f} MB", mine.list, "s", 0.25, other))
    return [*found, *_told(mine, real, alone["told"]), *_held(mine, real, ready, begun)]


def _beside(reference: str, real: Shown | None, name: str) -> str:
    return "; ".join(filter(None, [reference, f"kube-apiserver + etcd {real.loads[name]}" if real else ""]))


def _told(mine: Shown, real: Shown | None, bare: float) -> list[Figure]:
    told = f"{WATCHERS} watchers x {EVENTS} events/s"
    lost = mine.told["expected"] - mine.told["delivered"]
    other = real.told if real else {}
    peer = f"bare TLS fan-out {bare:.0f} ms"
    if real:
        late = other["expected"] - other["delivered"]
        peer += f"; kube-apiserver + etcd {other['p99']:.0f} ms, {late:.0f} late"
    return [
        Figure(f"{told}: not delivered", lost, "", 0),
        Figure(f"{told}: p99 from the write's sending", mine.told["p99"], "ms", 20, peer),
    ]


def _held(mine: Shown, real: Shown | None, ready: float, begun: Begun) -> list[Figure]:
    peer = f"kube-apiserver + etcd {real.memory:.0f} MB" if real else ""
    return [
        Figure(f"resident with {PODS} pods of 10 kB, after the writes", mine.memory, "MB", 300, peer),
        Figure(f"ready with {STORED[0] + STORED[1] + 2 * STORED[2]} stored objects", begun[0], "s", 1.0),
        Figure(f"ready with {PODS + MAPS + 2 * SERVICES} stored objects", begun[1], "s", None),
        Figure("apiserver alone, ready", ready, "s", 0.5, "kube-apiserver + etcd 2.5 s here"),
    ]
