"""`clusterip status`: say what runs, and with --watch how Services fare."""

from __future__ import annotations

import argparse
import json

from clusterip.cluster.config import parse_name
from clusterip.cluster.folder import Folder
from clusterip.cluster.report import gather, render
from clusterip.cluster.state import default_name, running_cluster

DESCRIPTION = """Say what of a cluster runs. The exit code is 0 also when nothing does. With --watch: every Service
probed at its cluster IP from every node, its endpoints, which of them got connections, how long cluster DNS took."""
INTERVAL_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=default_name(), help="the cluster (default: %(default)s)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: %(default)s")
    parser.add_argument("--watch", action="store_true", help="look at Services, again and again")
    parser.add_argument("--once", action="store_true", help="look at Services once")
    parser.add_argument("--interval", type=_seconds, default=INTERVAL_SECONDS, metavar="SECONDS", help="between looks")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="serve what is seen to Prometheus, at /metrics")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 3600")
    return value


def run(args: argparse.Namespace) -> int:
    if args.watch or args.once or args.metrics:
        from clusterip.cli import watching  # a client is not needed to say what runs

        return watching.run(running_cluster(args.name), watching.wanted(args))
    report = gather(Folder.of(parse_name(args.name)))
    print(json.dumps(report, indent=2) if args.output == "json" else render(report))
    return 0
