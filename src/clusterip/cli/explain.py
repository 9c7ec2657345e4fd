"""`clusterip explain`: a packet's way to a Service, hop by hop."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import replace

import uvloop

from clusterip.api.errors import ApiError
from clusterip.api.meta import ObjectKey
from clusterip.cli.doctor import CANNOT_LOOK, add_cluster_arguments, service_name, where
from clusterip.client.config import ServerConfig
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import SystemClock
from clusterip.cluster.config import UML
from clusterip.cluster.folder import Folder
from clusterip.explain.doctor import Scope, diagnose
from clusterip.explain.finding import Report
from clusterip.explain.gather import gather
from clusterip.explain.picture import Picture
from clusterip.explain.reality import compare, look
from clusterip.explain.report import render, tree_of
from clusterip.explain.route import Route, client_of, walk
from clusterip.explain.route_report import render_route, tree_of_route
from clusterip.explain.visit import entered, evidence
from clusterip.failure import Failure

DESCRIPTION = """Walk a packet to a Service hop by hop: its name, the proxy's verdict, NetworkPolicies, the endpoint,
and on a cluster of this machine the kernel's own rules. Exit code 0: it arrives, 1: it does not, 2: cannot look."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="svc/NAME")
    parser.add_argument("-n", "--namespace", default="", metavar="NS", help="default: the context's")
    parser.add_argument(
        "--from", dest="sender", default="", metavar="WHO", help="pod/NAME, pod/NS/NAME, node/NAME, lan or an address"
    )
    parser.add_argument("--node", default="", metavar="N", help="through this node (default: the sender's)")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="of the Service (default: its first)")
    add_cluster_arguments(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    try:
        server, folder = where(args)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(_explain(args, server, folder))
    except (Failure, ApiError, Unreachable, TimeoutError) as error:
        print(f"clusterip: {str(error) or 'no answer in time'}", file=sys.stderr)
        return CANNOT_LOOK
    if isinstance(found, Report):
        print(json.dumps(tree_of(found), indent=2) if args.output == "json" else render(found))
        return 1
    print(json.dumps(tree_of_route(found), indent=2) if args.output == "json" else render_route(found))
    return 0 if found.arrives else 1


async def _explain(args: argparse.Namespace, server: ServerConfig, folder: Folder | None) -> Route | Report:
    """The route; the doctor's report when there is no such Service."""
    clock = SystemClock()
    key = ObjectKey(args.namespace or server.namespace, service_name(args.service))
    async with Client(server, user_agent="clusterip-explain") as client:
        picture = await gather(client, clock.now())
    if key not in picture.services_by_key:
        return diagnose(picture, Scope(*key))
    if folder is None:
        return _route(args, picture, key)
    with entered(folder) as visit:
        route = _route(args, await evidence(visit, picture, clock), key)
        if visit is None or visit.config.node_kind == UML or route.client.node not in visit.nets:
            return route
        seen = await look(visit, route.client.node, route)
        return replace(route, steps=(*route.steps, *compare(route, seen)))


def _route(args: argparse.Namespace, picture: Picture, key: ObjectKey) -> Route:
    return walk(picture, key, client_of(picture, args.sender, key.namespace, args.node), args.port)
