"""`clusterip doctor`: find and name what is wrong with Services."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

import uvloop

from clusterip.api.errors import ApiError
from clusterip.client.config import ServerConfig, from_kubeconfig
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import SystemClock
from clusterip.cluster.config import parse_name
from clusterip.cluster.folder import Folder
from clusterip.cluster.state import default_name, running_cluster
from clusterip.explain.doctor import Scope, diagnose
from clusterip.explain.gather import gather, with_logs
from clusterip.explain.picture import Picture
from clusterip.explain.report import render, tree_of
from clusterip.failure import Failure

DESCRIPTION = """Find what is wrong with Services: each finding with what was seen and a command that helps. Looks at
the cluster of this machine, or at any other by --kubeconfig. Exit code 0: nothing is wrong, 1: findings, 2: cannot
look."""
SCREEN = 20  # findings
CANNOT_LOOK = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", default="", metavar="svc/NAME", help="one Service (default: all)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", default="", metavar="NS", help="of this namespace alone")
    where.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces (the default)")
    add_cluster_arguments(parser)
    parser.add_argument("--all", action="store_true", help=f"more than {SCREEN} findings")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: %(default)s")


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="look at this cluster, as far as its API tells")
    parser.add_argument("--name", default=default_name(), help="the cluster of this machine (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    try:
        server, folder = where(args)
        scope = scope_of(args, server)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = diagnose(runner.run(look(server, folder)), scope)
    except (Failure, ApiError, Unreachable, TimeoutError) as error:
        print(f"clusterip: {str(error) or 'no answer in time'}", file=sys.stderr)
        return CANNOT_LOOK
    print(json.dumps(tree_of(report), indent=2) if args.output == "json" else render(report, 0 if args.all else SCREEN))
    return 0 if report.is_healthy else 1


def scope_of(args: argparse.Namespace, server: ServerConfig) -> Scope:
    """One Service is of the namespace that is named, or of the context's."""
    name = service_name(args.service) if args.service else ""
    if name and not args.namespace and not args.all_namespaces:
        return Scope(server.namespace, name)
    return Scope(args.namespace, name)


def service_name(text: str) -> str:
    """NAME of svc/NAME, service/NAME, services/NAME or NAME."""
    kind, slash, name = text.rpartition("/")
    if slash and kind not in ("svc", "service", "services"):
        raise Failure(f"{text}: name a Service, as in svc/web")
    return name


def where(args: argparse.Namespace) -> tuple[ServerConfig, Folder | None]:
    """The API to ask, and the folder of the cluster when it is one of this machine."""
    if args.kubeconfig:
        return from_kubeconfig(args.kubeconfig), None
    folder = running_cluster(parse_name(args.name))
    return from_kubeconfig(folder.kubeconfig), folder


async def look(server: ServerConfig, folder: Folder | None) -> Picture:
    """Everything that can be seen, from the API and from inside the nodes of a cluster of this machine."""
    clock = SystemClock()
    async with Client(server, user_agent="clusterip-doctor") as client:
        picture = await with_logs(client, await gather(client, clock.now()))
    if folder is None:
        return picture
    from clusterip.explain.visit import entered, evidence  # a foreign cluster has no use for it

    with entered(folder) as visit:
        return await evidence(visit, picture, clock)
