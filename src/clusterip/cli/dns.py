"""`clusterip dns`: the cluster's DNS server, against any Kubernetes API."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

import uvloop

from clusterip.client.config import ServerConfig, from_kubeconfig, in_cluster
from clusterip.clock import SystemClock
from clusterip.dns import server
from clusterip.dns.zone import Settings
from clusterip.failure import Failure
from clusterip.transport import log

DESCRIPTION = "Answer DNS questions about a cluster's Services until SIGTERM."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ports = server.Addresses()
    parser.add_argument("--kubeconfig", metavar="FILE", help="identity of the server (default: the pod's own)")
    parser.add_argument("--domain", default="cluster.local", help="the cluster's domain (default: cluster.local)")
    parser.add_argument("--ttl", type=int, default=30, metavar="SECONDS", help="of every answer (default: 30)")
    parser.add_argument("--pods", choices=("insecure", "disabled"), default="insecure", help="names of pods by address")
    parser.add_argument("--listen", default=ports.dns, metavar="ADDRESS", help=f"UDP and TCP (default: {ports.dns})")
    for name in ("health", "ready", "metrics"):
        default = getattr(ports, name)
        parser.add_argument(f"--{name}", default=default, metavar="ADDRESS", help=f'"" for none (default: {default})')
    parser.add_argument("-v", "--v", type=int, default=2, metavar="LEVEL", help="verbosity of the log (default: 2)")


def run(args: argparse.Namespace) -> int:
    log.set_up(args.v)
    if not 0 <= args.ttl <= 3600:
        raise Failure(f"--ttl {args.ttl}: must be between 0 and 3600 seconds")
    config = from_kubeconfig(args.kubeconfig) if args.kubeconfig else in_cluster()
    settings = Settings(args.domain, args.ttl, args.pods == "insecure")
    addresses = server.Addresses(args.listen, args.health, args.ready, args.metrics)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(config, settings, addresses))
    return 0


async def _until_told(config: ServerConfig, settings: Settings, addresses: server.Addresses) -> None:
    """Run until SIGTERM."""
    serving = asyncio.ensure_future(server.run(config, settings, addresses, SystemClock()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
