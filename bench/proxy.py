"""The proxy's figures: every mode side by side, first syncs, changes, new connections, the relay, ipvs in a guest.

Rules: what is compared was measured in the same run on the same machine, beside connections without any Service:
`direct` through the same node, `bare` through one that has no rules.  QUICK=1 makes everything small.  A mode that
cannot run here is said to be missing, and why.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import proxyobjects as objects
from bench.cluster import pss
from bench.figure import Figure
from bench.lines import Child
from bench.proxylab import ProxyLab, proxy_lab

QUICK = os.environ.get("QUICK", "") not in ("", "0")
SIZES = (100, 500) if QUICK else (1000, 5000, 10_000)
ENDPOINTS = 3
ROOT = Path(__file__).parent.parent
CLUSTERIP = (sys.executable, "-m", "clusterip.main")
GUEST_SECONDS = 1500
FAILURES_BORNE = 0.01  # a guest's clock stumbles now and then
MODES = (("nftables", ""), ("iptables", "nft"), ("iptables", "legacy"), ("userspace", "nft"))


@dataclass
class Row:
    """What one mode showed at one size."""

    mode: str
    services: int
    sync: float = 0.0
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    direct: dict[str, float] = field(default_factory=dict)
    bare: dict[str, float] = field(default_factory=dict)
    change: dict[str, float] = field(default_factory=dict)


@contextlib.contextmanager
def child(mode: str, variant: str) -> Iterator[tuple[ProxyLab, Child]]:
    """A fresh lab with a proxy in it."""
    with proxy_lab() as lab:
        yield lab, Child(lab, "proxychild", mode, variant)


def name_of(mode: str, variant: str) -> str:
    return f"iptables-{variant}" if mode == "iptables" else mode


def row(mode: str, variant: str, services: int) -> Row:
    """One mode at one size: first sync; then in turn connections to the first and the last Service, to the endpoint
    itself (direct), and to that of a node that has no rules at all (bare)."""
    count, turns, changes = (300, 3, 5) if QUICK else (1000, 5, 30)
    asked = {
        "direct": (objects.SERVER, objects.SERVER_PORT),
        "first": (objects.service_ip(0), 80),
        "last": (objects.service_ip(services - 1), 80),
    }
    with child(mode, variant) as (lab, proxy), proxy_lab() as plain:
        labs = {**dict.fromkeys(asked, lab), "bare": plain}
        asked["bare"] = asked["direct"]
        sync = proxy.do("start", services=services, endpoints=ENDPOINTS)["seconds"]
        for word, place in asked.items():  # caches are warm for all
            labs[word].ask(*place, count=count // 3)
        seen = [{word: labs[word].ask(*place, count=count) for word, place in asked.items()} for _ in range(turns)]
        asked_for, failed = (sum(one[word] for turn in seen for one in turn.values()) for word in ("count", "errors"))
        if failed:
            words = f"{failed:.0f} of {asked_for + failed:.0f} connections failed"
            if failed > asked_for * FAILURES_BORNE:
                raise RuntimeError(words)
            print(f"    {name_of(mode, variant)} at {services} Services: {words}", flush=True)
        middle = {word: _middle([turn[word] for turn in seen]) for word in asked}
        return Row(name_of(mode, variant), services, sync, **middle, change=proxy.do("change", count=changes))


def _middle(seen: list[dict[str, float]]) -> dict[str, float]:
    """Of several turns, the middle of each figure."""
    return {word: statistics.median(one[word] for one in seen) for word in ("p50", "p99", "rate")}


def side_by_side(rows: list[Row]) -> str:
    """The table of the lesson, measured."""
    head = (
        "mode",
        "Services",
        "first sync s",
        "one change ms p50",
        "bare us p50",
        "direct us p50",
        "first us p50/p99",
        "last us p50/p99",
        "last / bare",
    )
    lines = [head] + [
        (
            found.mode,
            f"{found.services}",
            f"{found.sync:.3g}",
            f"{found.change['p50'] * 1e3:.3g}",
            f"{found.bare['p50']:.1f}",
            f"{found.direct['p50']:.1f}",
            f"{found.first['p50']:.1f} / {found.first['p99']:.0f}",
            f"{found.last['p50']:.1f} / {found.last['p99']:.0f}",
            f"{found.last['p50'] / found.bare['p50']:.2f}",
        )
        for found in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def rows_of(modes: Sequence[tuple[str, str]]) -> list[Row]:
    """Each mode at each size; one that cannot is said to be missing."""
    rows: list[Row] = []
    for services in SIZES:
        for mode, variant in modes:
            try:
                rows.append(row(mode, variant, services))
            except RuntimeError as error:
                print(f"    no {name_of(mode, variant)} at {services} Services: {error}", flush=True)
    return rows


def modes() -> list[Figure]:
    """The side-by-side table."""
    rows = rows_of(MODES)
    print(side_by_side(rows), flush=True)
    return [figure for found in rows for figure in _of(found)]


def in_guest() -> list[Figure]:
    """ipvs beside iptables-legacy, both within one User Mode Linux kernel; only these two can be compared there."""
    sys.path.append(str(ROOT / "tests"))
    from uml import guest

    with tempfile.TemporaryDirectory(prefix="clusterip-bench-") as name:
        environment = {
            **guest.ENVIRONMENT,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
            "QUICK": os.environ.get("QUICK", ""),
        }
        command = [sys.executable, "-m", "bench.proxyguest", "/run/host/rows"]
        try:
            done = guest.run(command, Path(name), seconds=GUEST_SECONDS, memory="1G", environment=environment)
        except guest.GuestFailed as failure:
            print(f"    no ipvs: {failure}", flush=True)
            return []
        print(done.output, flush=True)
        written = Path(name) / "rows"
        rows = [Row(**tree) for tree in json.loads(written.read_text())] if written.exists() else []
    return [figure for found in rows for figure in _of(found, " (guest)")]


def _of(found: Row, place: str = "") -> Iterator[Figure]:
    where = f"{found.mode}{place}, {found.services} Services"
    yield Figure(f"{where}: first sync", found.sync, "s", None)
    for word, asked in (("first", found.first), ("last", found.last)):
        for share in ("p50", "p99"):
            yield Figure(f"{where}: first answer of the {word} Service, {share}", asked[share], "us", None)
    yield Figure(
        f"{where}: endpoint itself / on a node without rules, p50", found.direct["p50"] / found.bare["p50"], "x", None
    )
    yield Figure(
        f"{where}: last Service / endpoint without rules, p50", found.last["p50"] / found.bare["p50"], "x", None
    )
    yield Figure(f"{where}: one endpoint change, p50", found.change["p50"] * 1e3, "ms", None)


FIRST_SYNCS = (
    ("nftables", "", 10_000, 3, 1.5, "kube-proxy 22.6 s"),
    ("iptables", "nft", 10_000, 3, 8.0, "kube-proxy 211 s"),
    ("iptables", "legacy", 10_000, 3, 8.0, ""),
    ("nftables", "", 44_000, 1, 6.0, "kube-proxy 16 m 44 s (published)"),
    ("nftables", "", 5_000, 50, 8.0, ""),
)


def syncs() -> list[Figure]:
    """First syncs of large clusters, from the API's bytes to the kernel."""
    figures = []
    for mode, variant, services, endpoints, goal, peer in FIRST_SYNCS:
        size = services // 20 if QUICK else services
        with child(mode, variant) as (_, proxy):
            took = proxy.do("start", services=size, endpoints=endpoints)
        beside = f"CPU of the proxy {took['cpu']:.2f} s; {peer}".removesuffix("; ")
        what = f"{name_of(mode, variant)}: first sync of {size} x {endpoints}"
        figures.append(Figure(what, took["seconds"], "s", goal, beside))
    return figures


def changes() -> list[Figure]:
    """One change, many at once, and 100 a second, at 10,000 Services."""
    services, count = (500, 20) if QUICK else (10_000, 1000)
    figures = []
    with child("nftables", "") as (_, proxy):
        proxy.do("start", services=services, endpoints=ENDPOINTS)
        one = proxy.do("change", count=count)
        where = f"nftables, {services} Services"
        figures.append(Figure(f"{where}: one endpoint change, p50", one["p50"] * 1e3, "ms", 2, "kube-proxy 5.3 s"))
        figures.append(Figure(f"{where}: one endpoint change, p99", one["p99"] * 1e3, "ms", 10))
        many = min(1000, services // 2)
        at_once = proxy.do("burst", count=many)["seconds"]
        figures.append(Figure(f"{where}: {many} changes at once", at_once * 1e3, "ms", 100))
        busy = proxy.do("rate", per_second=100, seconds=2 if QUICK else 10)
        share = busy["cpu"] / busy["per_second"] / one["p50"]
        figures.append(Figure(f"{where}: CPU under {busy['per_second']:.0f} changes/s", busy["cpu"] * 100, "%", None))
        figures.append(Figure(f"{where}: CPU of such a change / time of one alone", share, "x", None))
    for variant in ("nft", "legacy"):
        with child("iptables", variant) as (_, proxy):
            proxy.do("start", services=services, endpoints=ENDPOINTS)
            proxy.do("change", count=2)
            one, least = proxy.do("change", count=min(count, 20)), proxy.do("minimal", count=10)
            where = f"iptables-{variant}, {services} Services"
            figures.append(
                Figure(f"{where}: one endpoint change, p50", one["p50"] * 1e3, "ms", None, "kube-proxy 750 ms")
            )
            figures.append(
                Figure(f"{where}: one change / one minimal iptables-restore", one["p50"] / least["p50"], "x", 1.5)
            )
    return figures


def connections() -> list[Figure]:
    """New connections through nftables at 30,000 Services, in turn with direct ones."""
    services, count, turns = (1000, 1000, 2) if QUICK else (30_000, 4000, 5)
    with child("nftables", "") as (lab, proxy):
        proxy.do("start", services=services, endpoints=ENDPOINTS)
        direct, last = [], []
        for _ in range(turns):
            direct.append(lab.ask(objects.SERVER, objects.SERVER_PORT, count=count)["p50"])
            last.append(lab.ask(objects.service_ip(services - 1), count=count)["p50"])
    middle = sorted(one / other for one, other in zip(last, direct, strict=True))[turns // 2]
    return [Figure(f"nftables, {services} Services: new connection / direct, p50", middle, "x", 1.10)]


def relay() -> list[Figure]:
    """What userspace mode carries, beside direct and nftables."""
    seconds = 1.0 if QUICK else 5.0
    figures = []
    for mode, variant in (("userspace", "nft"), ("nftables", "")):
        with child(mode, variant) as (lab, proxy):
            proxy.do("start", services=100, endpoints=ENDPOINTS)
            direct = lab.ask(objects.SERVER, objects.SERVER_PORT, count=1 << 20, seconds=seconds, clients=4)["rate"]
            through = lab.ask(objects.service_ip(0), count=1 << 20, seconds=seconds, clients=4)["rate"]
            figures.append(
                Figure(f"{mode}: new connections a second, 4 clients", through, "/s", None, f"direct {direct:.0f}")
            )
            if mode == "userspace":
                wire = lab.push(objects.SERVER, objects.SINK_PORT, seconds)
                carried = lab.push(objects.service_ip(100), 80, seconds)
                figures.append(
                    Figure("userspace: one TCP stream", carried / 1e9, "Gbit/s", None, f"direct {wire / 1e9:.1f}")
                )
    return figures


CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: node-1
clusterCIDR: {pods}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection:
  kubeconfig: {kubeconfig}
"""


def whole() -> list[Figure]:
    """The process on an API server over TLS: cold start, memory, changes as they come, CPU; kube-proxy's if here."""
    services = 500 if QUICK else 10_000
    with proxy_lab() as lab, tempfile.TemporaryDirectory(prefix="clusterip-bench-") as folder:
        words = ("apiserver", "--listen", "127.0.0.1:6443", "--store", "memory", "--state", folder, "-o", "json")
        _, ready = lab.start(lab.node, *CLUSTERIP, *words, stderr=subprocess.DEVNULL)
        kubeconfig = json.loads(ready)["kubeconfig"]
        load = Child(lab, "proxyload", kubeconfig)
        load.do("fill", services=services, endpoints=ENDPOINTS)
        config = Path(folder) / "proxy.yaml"
        config.write_text(CONFIG.format(pods=objects.PODS, kubeconfig=kubeconfig))
        ours = (*CLUSTERIP, "proxy", "--config", str(config), "--service-cluster-ip-range", objects.SERVICES)
        figures = _whole(lab, load, ours, f"nftables, {services} x {ENDPOINTS}, whole process", services)
        if program := shutil.which("kube-proxy"):
            subprocess.run(lab.inside(lab.node, *CLUSTERIP, "proxy", "--cleanup"), check=True)
            figures += _whole(lab, load, (program, "--config", str(config)), f"{program}, {services} x 3", services)
        else:
            print("    no kube-proxy on PATH: its figures are of the same kind of machine, measured before", flush=True)
        return figures


def _whole(lab: ProxyLab, load: Child, command: Sequence[str], where: str, services: int) -> list[Figure]:
    """One proxy from its start to its end."""
    count, seconds = (20, 2) if QUICK else (300, 10)
    began = time.perf_counter()
    process = subprocess.Popen(lab.inside(lab.node, *command), stderr=subprocess.DEVNULL)
    try:
        _until_answered(lab, objects.service_ip(services - 1))
        cold = time.perf_counter() - began
        one = load.do("change", count=count)
        memory = pss(process.pid) / 2**20
        busy = load.do("rate", per_second=100, seconds=seconds, pid=process.pid)
    finally:
        process.terminate()
        process.wait(30)
    return [
        Figure(f"{where}: from its start to the last Service's answer", cold, "s", None),
        Figure(f"{where}: memory (PSS)", memory, "MB", 150, "kube-proxy 212 MB"),
        Figure(f"{where}: PATCH of a slice to the kernel, p50", one["p50"] * 1e3, "ms", None, "kube-proxy 5.3 s"),
        Figure(f"{where}: PATCH of a slice to the kernel, p99", one["p99"] * 1e3, "ms", None),
        Figure(f"{where}: CPU under {busy['per_second']:.0f} changes/s", busy["cpu"] * 100, "%", None),
    ]


def _until_answered(lab: ProxyLab, address: str, seconds: float = 120) -> None:
    """Until a connection is served."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if lab.ask(address, count=1, seconds=1)["count"]:
            return
        time.sleep(0.01)
    raise RuntimeError(f"{address} did not answer")


async def proxy() -> list[Figure]:
    """Everything."""
    figures: list[Figure] = []
    for part in (modes, syncs, changes, whole, connections, relay, in_guest):
        print(f"    {part.__name__}", flush=True)
        figures += part()  # nothing else runs here
    return figures
