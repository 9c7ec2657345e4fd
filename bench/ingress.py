"""Ingress figures: requests a second beside a plain HAProxy, and how soon an endpoint's change is in.

The load is wrk's, in turns.  Both HAProxies run with the same threads, choose among the same hosts and go to the same
server; the plain one adds no header, retries nothing and looks at no path.  QUICK=1 is small.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.figure import Figure, percentile
from clusterip.clock import SystemClock
from clusterip.ingress import metrics
from clusterip.ingress.carrier import Carrier
from clusterip.ingress.certificates import own_certificate
from clusterip.ingress.compile import CONFIG, Config, Listening
from clusterip.ingress.endpoints import Address
from clusterip.ingress.engine import Engine
from clusterip.ingress.model import PREFIX, Ingress, Target
from clusterip.ingress.model import Path as Rule
from clusterip.ingress.plan import Picture, Plan, Served

QUICK = os.environ.get("QUICK", "") not in ("", "0")
SECONDS = 2 if QUICK else 3
ROUNDS = 2 if QUICK else 6
HOSTS, CHANGES = 100, 20 if QUICK else 200
PLAIN = """\
global
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend all
  bind 127.0.0.1:{port}
  use_backend %[req.hdr(host),lower,map_str({hosts})]
"""
PLAIN_BACKEND = """\
backend b{number}
  server s0 127.0.0.1:{pod}
"""
POD = """\
global
  nbthread 1
defaults
  mode http
  timeout client 60s
frontend all
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string ok
"""


async def ingress() -> list[Figure]:
    """Every figure."""
    if shutil.which("wrk") is None or shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None:
        print("    not measured: wrk or haproxy is not here (apt-get install wrk haproxy)")
        return []
    with tempfile.TemporaryDirectory(prefix="bi-") as name:
        return await measured(Path(name))


async def measured(place: Path) -> list[Figure]:
    pod, plain, ours = (free() for _ in range(3))
    numbers, engines = metrics.registry(), [Engine(place / each) for each in ("pod", "plain", "ours")]
    try:
        await engines[0].put(_config(POD.format(port=pod)))
        await engines[1].put(_config(_plain(place / "hosts.map", plain, pod)))
        carrier = Carrier(engines[2], Listening((f"127.0.0.1:{ours}",), ()), own_certificate(), numbers)
        plan = await carrier.admit(Picture({each.key: each for each in _ingresses()}), Served())
        await carrier.carry(plan, dict.fromkeys(plan.backends(), (("127.0.0.1", pod),)))
        rates = [(await wrk(plain), await wrk(ours)) for _ in range(ROUNDS)]
        waits = await changes(carrier, plan, ("127.0.0.1", pod))
    finally:
        for engine in engines:
            await engine.end(5.0)
    best, theirs = max(rate[1] for rate in rates), max(rate[0] for rate in rates)
    ratios = " ".join(f"{mine / other:.2f}" for other, mine in rates if other)
    print(f"    Ingress to plain HAProxy, round by round: {ratios}")
    return [
        Figure(f"Ingress with {HOSTS} hosts", best, "req/s", 0.8 * theirs, f"plain HAProxy {theirs:.0f}/s", True),
        Figure("endpoint known to HAProxy told, p99", percentile(waits, 0.99) * 1000, "ms", 100),
        Figure("reloads of these changes", numbers.value(metrics.RELOADS) - 1, "", 0),
    ]


async def changes(carrier: Carrier, plan: Plan, first: Address) -> list[float]:
    """How long each change of one backend's endpoints takes."""
    clock, waits = SystemClock(), []
    for number in range(CHANGES):
        more = (first, ("127.0.0.1", 2000 + number))
        started = clock.monotonic()
        await carrier.carry(plan, dict.fromkeys(plan.backends(), (first,)) | {plan.backends()[0]: more})
        waits.append(clock.monotonic() - started)
    return waits


def _ingresses() -> list[Ingress]:
    hosts = [f"h{number}.example.com" for number in range(HOSTS)]
    return [
        Ingress("default", host, class_name="nginx", hosts=(host,), paths=(Rule(host, "/", PREFIX, Target("web", 80)),))
        for host in hosts
    ]


def _plain(hosts: Path, port: int, pod: int) -> str:
    hosts.write_text("".join(f"h{number}.example.com b{number}\n" for number in range(HOSTS)))
    backends = [PLAIN_BACKEND.format(number=number, pod=pod) for number in range(HOSTS)]
    return PLAIN.format(port=port, hosts=hosts) + "".join(backends)


def _config(text: str) -> Config:
    return Config({CONFIG: text.encode()})


def free() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def wrk(port: int) -> float:
    """Requests a second to one of the hosts."""
    words = ("wrk", "-t1", "-c32", f"-d{SECONDS}s", "-H", "Host: h50.example.com", f"http://127.0.0.1:{port}/")
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=True)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        print(done.stdout, file=sys.stderr)
        return 0.0
    return float(found[1])
