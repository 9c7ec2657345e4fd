"""`clusterip status --watch`: look at Services again and again, on a screen, in lines, as JSON, as metrics.

Stage: shell of `cluster.monitoring`.  In: a running cluster.  Out: text on stdout, a page for Prometheus.
Rules: a terminal is redrawn, anything else gets lines; with --metrics alone nothing is printed but where it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

from clusterip.api.addresses import with_port
from clusterip.cli import foreground
from clusterip.client.config import from_kubeconfig
from clusterip.client.rest import Client
from clusterip.clock import SystemClock
from clusterip.cluster import monitoring_view as shown
from clusterip.cluster.folder import Folder
from clusterip.cluster.monitoring import Monitor, Readings
from clusterip.cluster.probing import Prober, opened
from clusterip.failure import Failure
from clusterip.transport.insight import Insight
from clusterip.transport.listening import split_address

HOME, CLEAR_LINE, CLEAR_BELOW = "\033[H", "\033[K", "\033[J"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to show it, and how often to look."""

    form: str  # screen, lines, view, json, or nothing
    once: bool
    interval: float
    metrics: str = ""


def wanted(args: argparse.Namespace, *, terminal: bool | None = None) -> Wanted:
    """What the words on the command line mean."""
    once = args.once and not args.metrics
    return Wanted(_form(args, sys.stdout.isatty() if terminal is None else terminal), once, args.interval, args.metrics)


def _form(args: argparse.Namespace, terminal: bool) -> str:
    if args.metrics and not args.watch:
        return ""
    if args.output == "json":
        return "json"
    if args.once:
        return "view"
    return "screen" if terminal else "lines"


def text(form: str, name: str, readings: Readings) -> str:
    """What is printed for one look."""
    if form == "json":
        return json.dumps({"name": name} | shown.tree(readings))
    if form == "lines":
        return "\n".join(shown.lines(readings))
    if form == "screen":
        return HOME + shown.view(name, readings).replace("\n", f"{CLEAR_LINE}\n") + CLEAR_LINE + "\n" + CLEAR_BELOW
    return shown.view(name, readings)


def run(folder: Folder, wanted: Wanted) -> int:
    """Look until told to end, or once."""
    foreground.run(_watch(folder, wanted))
    return 0


async def _watch(folder: Folder, wanted: Wanted) -> None:
    config = folder.config()
    if config is None:
        raise Failure(f"cluster {folder.name} is not running")
    clock, monitor, numbers = SystemClock(), Monitor(), shown.Numbers()
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(opened(folder, config))
        client = await stack.enter_async_context(Client(from_kubeconfig(folder.kubeconfig)))
        prober = Prober(settings, client, clock)
        if wanted.metrics:
            await _serve(stack, wanted.metrics, numbers)
        while True:
            readings = monitor.observe(await prober.sample())
            numbers.take(readings)
            if wanted.form:
                print(text(wanted.form, folder.name, readings), flush=True)
            if wanted.once:
                return
            await asyncio.sleep(wanted.interval)


async def _serve(stack: AsyncExitStack, address: str, numbers: shown.Numbers) -> None:
    host, port = split_address(address)
    if not port:
        raise Failure(f"--metrics {address}: choose a port")
    await Insight(numbers.registry, lambda: numbers.is_ready).listen(stack, address)
    print(f"metrics at http://{with_port(host or '0.0.0.0', port)}/metrics", file=sys.stderr, flush=True)
