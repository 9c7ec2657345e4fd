"""How commands are told of an etcd: the same words everywhere."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser, prefix: str) -> None:
    """Arguments beside --store; `prefix` is where in etcd objects are when nobody says so."""
    parser.add_argument("--etcd-cafile", metavar="FILE", type=Path, help="whom to believe that it is etcd")
    parser.add_argument("--etcd-certfile", metavar="FILE", type=Path, help="certificate to show to etcd")
    parser.add_argument("--etcd-keyfile", metavar="FILE", type=Path, help="the key of that certificate")
    parser.add_argument("--etcd-prefix", metavar="PATH", help=f"where in etcd (default: {prefix})")
