"""`clusterip policy`: NetworkPolicies for one node, against any Kubernetes API."""

from __future__ import annotations

import argparse
import os
import socket
from ipaddress import ip_network

from clusterip.cli import foreground
from clusterip.client.config import from_kubeconfig, in_cluster
from clusterip.failure import Failure
from clusterip.transport import log

DESCRIPTION = "Program this node's kernel for NetworkPolicies until SIGTERM; the rules stay when it ends."
DEFAULT_VERBOSITY = 2
HEALTH = "127.0.0.1:9099"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="identity (default: the pod's own)")
    parser.add_argument(
        "--node-name",
        default=os.environ.get("NODE_NAME", ""),
        metavar="NAME",
        help="of this machine (default: NODE_NAME, else the host's name)",
    )
    parser.add_argument(
        "--pod-cidr",
        default="",
        metavar="CIDRS",
        help="drop what comes from addresses of these networks that no known pod has (default: the Node's podCIDRs)",
    )
    parser.add_argument(
        "--healthz-bind-address",
        default=HEALTH,
        metavar="ADDRESS:PORT",
        help="of /healthz, /readyz and /metrics; empty: none (default: %(default)s)",
    )
    parser.add_argument("--cleanup", action="store_true", help="remove all rules and end")
    parser.add_argument("-v", "--v", type=int, default=DEFAULT_VERBOSITY, metavar="LEVEL", help="verbosity of the log")


def run(args: argparse.Namespace) -> int:
    import asyncio

    from clusterip.policy import process

    log.set_up(args.v)
    networks = _networks(args.pod_cidr)
    if args.cleanup:
        for name in asyncio.run(process.clean_up()):
            print(f"removed table {name}")
        return 0
    server = from_kubeconfig(args.kubeconfig) if args.kubeconfig else in_cluster()
    name = (args.node_name or socket.gethostname()).strip().lower()
    foreground.run(process.Agent(process.Settings(server, name, networks, args.healthz_bind_address)).run())
    return 0


def _networks(text: str) -> tuple[str, ...]:
    found = tuple(filter(None, text.split(",")))
    for each in found:
        try:
            ip_network(each, strict=False)
        except ValueError as error:
            raise Failure(f"--pod-cidr {each}: {error}") from error
    return found
