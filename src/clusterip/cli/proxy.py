"""`clusterip proxy`: kube-proxy for one node, against any Kubernetes API."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
from pathlib import Path

import uvloop

from clusterip.client.config import ServerConfig, from_kubeconfig, in_cluster
from clusterip.failure import Failure
from clusterip.proxy.backends import Refused
from clusterip.proxy.config import API_VERSION, KIND, KubeProxyConfiguration, parse, service_networks
from clusterip.proxy.model import Family
from clusterip.proxy.modes import MODES
from clusterip.proxy.process import Settings, serve
from clusterip.transport import log

DESCRIPTION = "Program this node's kernel for Services until SIGTERM; the rules stay when it ends."
DEFAULTS = f"apiVersion: {API_VERSION}\nkind: {KIND}\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1)")
    parser.add_argument("--kubeconfig", metavar="FILE", help="the API, when the configuration does not name one")
    parser.add_argument("--hostname-override", default="", metavar="NODE", help="this node's name (default: hostname)")
    parser.add_argument(
        "--service-cluster-ip-range",
        default="",
        metavar="CIDRS",
        help="drop what is sent to addresses of these networks that no Service has",
    )
    parser.add_argument("--cleanup", action="store_true", help="remove the rules and end")
    parser.add_argument("-v", "--v", type=int, default=2, metavar="LEVEL", help="verbosity of the log (default: 2)")


def run(args: argparse.Namespace) -> int:
    if not shutil.which("nft"):
        raise Failure("the program nft is missing; install it: apt-get install nftables")
    if os.geteuid() != 0:
        raise Failure("programming the kernel needs root (or a user namespace of one's own: unshare -rn)")
    if args.cleanup:
        asyncio.run(_clean_up())
        return 0
    config = _read(args.config)
    source = args.config or "the default configuration"
    settings = Settings(
        _server(config, args.kubeconfig),
        config,
        (args.hostname_override or config.hostname_override or socket.gethostname()).lower(),
        service_networks(args.service_cluster_ip_range),
        source,
    )
    log.set_up(args.v)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))
    return 0


def _read(path: str | None) -> KubeProxyConfiguration:
    if path is None:
        return parse(DEFAULTS, "the default configuration")
    try:
        return parse(Path(path).read_text(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {path}: {error}") from error


def _server(config: KubeProxyConfiguration, kubeconfig: str | None) -> ServerConfig:
    path = kubeconfig or config.client_connection.kubeconfig
    return from_kubeconfig(path) if path else in_cluster()


async def _clean_up() -> None:
    try:
        await MODES["nftables"].cleanup(Family.IPV4)
    except Refused as error:
        raise Failure(str(error)) from error
