"""`clusterip controllers`: the controllers and the scheduler in one process, against any Kubernetes API."""

from __future__ import annotations

import argparse
import asyncio

import uvloop

from clusterip.client.config import from_kubeconfig, in_cluster
from clusterip.controllers.run import run as run_controllers
from clusterip.transport import log

DESCRIPTION = "Run the controllers and the scheduler against a Kubernetes API until SIGTERM."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="identity of the controllers (default: the pod's own)")
    parser.add_argument("--scheduler-kubeconfig", metavar="FILE", help="identity of the scheduler (default: the same)")
    parser.add_argument("--controllers", default="*", metavar="LIST", help='names, "-name" to leave out (default: *)')
    parser.add_argument("-v", "--v", type=int, default=2, metavar="LEVEL", help="verbosity of the log (default: 2)")


def run(args: argparse.Namespace) -> int:
    log.set_up(args.v)
    config = from_kubeconfig(args.kubeconfig) if args.kubeconfig else in_cluster()
    scheduler = from_kubeconfig(args.scheduler_kubeconfig) if args.scheduler_kubeconfig else config
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_controllers(config, scheduler, args.controllers))
    return 0
