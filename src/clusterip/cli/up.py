"""`clusterip up`: start a cluster, or complete one that is there."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

from clusterip.cli import stores
from clusterip.cluster import config as choices
from clusterip.cluster.config import Config
from clusterip.cluster.folder import Folder, locked
from clusterip.cluster.kubectl import for_nodes
from clusterip.cluster.preflight import check, image_hint
from clusterip.cluster.state import default_name
from clusterip.failure import Failure

DESCRIPTION = "Start a cluster of several nodes on this machine. It is usable when the command returns."

NEXT = """
  export KUBECONFIG={kubeconfig}
  clusterip kubectl{option} get nodes
  clusterip demo{option}             the ClusterIP lesson, played on this cluster
  clusterip shell{option} {node}     a shell on a node; without a node: a machine of the LAN
  clusterip down{option}             end it and remove all that it made"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=default_name(), help="the cluster (default: %(default)s)")
    _add_nodes(parser)
    _add_services(parser)
    parser.add_argument(
        "--store",
        default="sqlite",
        metavar="KIND",
        help="sqlite, memory, or etcd=URL[,URL...] as this machine reaches it (default: sqlite)",
    )
    stores.add_arguments(parser, "/clusterip/NAME")
    parser.add_argument("--supervise", action="store_true", help=argparse.SUPPRESS)


def _add_nodes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, metavar="N", help="how many nodes (default: 3)")
    parser.add_argument("--node-names", metavar="A,B,...", help="the nodes' names (default: node-1,node-2,...)")
    parser.add_argument(
        "--node-kind",
        default="namespace",
        metavar="KIND",
        help="namespace, or uml: each node's network is a User Mode Linux guest, which has IPVS (default: namespace)",
    )
    parser.add_argument(
        "--dual-stack",
        action="store_true",
        help="IPv6 beside IPv4: nodes and pods have both, Services may ask for both",
    )


def _add_services(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--proxy-mode",
        metavar="MODE",
        help="nftables, iptables, ipvs or userspace (default: nftables; uml nodes: ipvs)",
    )
    parser.add_argument(
        "--strict-drain",
        action="store_true",
        help="a pod gets SIGTERM only after every node's proxy has heard that it leaves: a rollout loses no request",
    )
    parser.add_argument(
        "--network-policy",
        action="store_true",
        help="NetworkPolicies are enforced: an agent on every node, and no pod speaks before it is known there",
    )
    parser.add_argument(
        "--resolver",
        default=os.environ.get("CLUSTERIP_RESOLVER", choices.ASK_HOST),
        metavar="WHO",
        help="who is asked about names beyond the cluster: host (its own servers), none, or addresses (default: host)",
    )


def run(args: argparse.Namespace) -> int:
    folder = Folder.of(choices.parse_name(args.name))
    if args.supervise:
        return _supervise(folder)
    kind = choices.parse_node_kind(args.node_kind)
    config = Config(
        name=folder.name,
        nodes=choices.parse_nodes(args.nodes, args.node_names),
        proxy_mode=choices.parse_proxy_mode(args.proxy_mode, kind),
        node_kind=kind,
        store=choices.parse_store(args.store),
        etcd_cafile=_absolute(args.etcd_cafile),
        etcd_certfile=_absolute(args.etcd_certfile),
        etcd_keyfile=_absolute(args.etcd_keyfile),
        etcd_prefix=args.etcd_prefix or "",
        strict_drain=args.strict_drain,
        resolver=choices.parse_resolver(args.resolver),
        dual_stack=choices.parse_dual_stack(args.dual_stack, kind),
        network_policy=choices.parse_network_policy(args.network_policy, kind),
    )
    check(kind, config.proxy_mode)
    return _up(folder, config)


def _absolute(file: Path | None) -> str:
    """As the API server, which runs elsewhere, finds it."""
    return os.path.abspath(file) if file else ""


def _up(folder: Folder, config: Config) -> int:
    from clusterip.cluster import start

    began = time.monotonic()
    with locked(folder):
        try:
            start.up(folder, config, for_nodes(), lambda text: _say(began, text))
        except start.Running:
            print(f"cluster {folder.name} is already running")
            return 0
        except OSError as error:
            raise Failure(f"cannot start cluster {folder.name}: {error}; `clusterip down` cleans up") from error
    print(f"cluster {folder.name} is up after {time.monotonic() - began:.1f} s; next:")
    option = "" if folder.name == default_name() else f" --name {folder.name}"
    node = (folder.config() or config).nodes[0]
    print(NEXT.format(kubeconfig=folder.kubeconfig, option=option, node=node))
    if hint := image_hint():
        print(f"\n{hint}")
    return 0


def _say(began: float, text: str) -> None:
    """A step: with colour on a terminal, plain in a pipe; a reader that left does not stop the start."""
    seconds = f"{time.monotonic() - began:5.1f} s"
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    with contextlib.suppress(BrokenPipeError):
        print(f"{seconds}  {text}" if plain else f"\033[2m{seconds}\033[0m  {text}", flush=True)


def _supervise(folder: Folder) -> int:
    """Be the supervisor (the zygote forks it with this command)."""
    import asyncio

    import uvloop

    from clusterip.clock import SystemClock
    from clusterip.cluster.launch import LISTENER_NAME
    from clusterip.cluster.supervisor import supervise
    from clusterip.kernel.zygote import inherited_listeners
    from clusterip.transport import log

    log.set_up()
    listener = inherited_listeners().get(LISTENER_NAME)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(supervise(folder, SystemClock(), listener))
    return 0
