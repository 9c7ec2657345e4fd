"""`clusterip status`: say what runs."""

from __future__ import annotations

import argparse
import json

from clusterip.cluster.config import parse_name
from clusterip.cluster.folder import Folder
from clusterip.cluster.report import gather, render
from clusterip.cluster.state import default_name

DESCRIPTION = "Say what of a cluster runs. The exit code is 0 also when nothing does."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=default_name(), help="the cluster (default: %(default)s)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    report = gather(Folder.of(parse_name(args.name)))
    print(json.dumps(report, indent=2) if args.output == "json" else render(report))
    return 0
