"""`clusterip dns`: the cluster's DNS server, against any Kubernetes API; or a resolver for names of the world."""

from __future__ import annotations

import argparse
import random
import socket
from dataclasses import replace
from pathlib import Path

from clusterip.cli import foreground
from clusterip.client.config import ServerConfig, from_kubeconfig, in_cluster
from clusterip.clock import SystemClock
from clusterip.dns import corefile, server
from clusterip.dns.corefile import Block, Corefile, Kubernetes
from clusterip.dns.reloading import Addresses, Serving
from clusterip.failure import Failure
from clusterip.transport import listening, log

DESCRIPTION = "Answer DNS questions about a cluster's Services, and pass on those about the world, until SIGTERM."
EVERY_NAME = (b"\0",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ports = Addresses()
    parser.add_argument("-conf", "--conf", metavar="FILE", help="a Corefile; it decides what the options below say")
    parser.add_argument("--kubeconfig", metavar="FILE", help="identity of the server (default: the pod's own)")
    parser.add_argument(
        "--domain", default="cluster.local", help='the cluster\'s domain; "" for no cluster (default: %(default)s)'
    )
    parser.add_argument("--ttl", type=int, default=30, metavar="SECONDS", help="of every answer (default: 30)")
    parser.add_argument("--pods", choices=("insecure", "disabled"), default="insecure", help="names of pods by address")
    parser.add_argument(
        "--forward", metavar="SERVER,...", help="who is asked about the world: addresses, or a resolv.conf"
    )
    parser.add_argument("--listen", metavar="ADDRESS", help=f"UDP and TCP (default: {ports.dns})")
    parser.add_argument("--listen-fds", metavar="UDP,TCP", help="sockets passed by the parent instead of --listen")
    for name in ("health", "ready", "metrics"):
        parser.add_argument(f"--{name}", metavar="ADDRESS", help=f'"" for none (default: {getattr(ports, name)})')
    parser.add_argument("-v", "--v", type=int, default=2, metavar="LEVEL", help="verbosity of the log (default: 2)")


def run(args: argparse.Namespace) -> int:
    log.set_up(args.v)
    config = _from_file(args.conf) if args.conf else _from_flags(args)
    serving = Serving(
        config=config,
        addresses=_addresses(args, config),
        clock=SystemClock(),
        dice=random.SystemRandom(),
        path=Path(args.conf) if args.conf else None,
        sockets=_passed(args.listen_fds) if args.listen_fds else None,
    )
    foreground.run(server.run(_api(args, config), serving))
    return 0


def _from_file(path: str) -> Corefile:
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error
    return corefile.parse(text, path)


def _from_flags(args: argparse.Namespace) -> Corefile:
    """What the options say, as a Corefile would."""
    if not 0 <= args.ttl <= 3600:
        raise Failure(f"--ttl {args.ttl}: must be between 0 and 3600 seconds")
    cluster = Kubernetes(args.domain, corefile.REVERSE, args.ttl, args.pods == "insecure") if args.domain else None
    to = f". {{\n forward . {args.forward.replace(',', ' ')}\n}}" if args.forward else ""
    forwards = corefile.parse(to, "--forward").blocks[0].forwards if to else ()
    ports = Addresses()
    return Corefile(
        (Block(EVERY_NAME, cluster, forwards, 30),), health=ports.health, ready=ports.ready, metrics=ports.metrics
    )


def _addresses(args: argparse.Namespace, config: Corefile) -> Addresses:
    """Where to listen: as the options say, else as the configuration does."""
    found = Addresses(f"0.0.0.0:{config.port}", config.health, config.ready, config.metrics)
    told = {"dns": args.listen, "health": args.health, "ready": args.ready, "metrics": args.metrics}
    return replace(found, **{name: address for name, address in told.items() if address is not None})


def _passed(names: str) -> tuple[socket.socket, socket.socket]:
    udp, _, tcp = names.partition(",")
    return listening.inherited(udp), listening.inherited(tcp)


def _api(args: argparse.Namespace, config: Corefile) -> ServerConfig | None:
    """The API server to follow; None when no block answers a cluster's names."""
    cluster = config.kubernetes
    if cluster is None:
        return None
    path = args.kubeconfig or cluster.kubeconfig
    return from_kubeconfig(path) if path else in_cluster()
