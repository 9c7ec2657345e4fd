"""`clusterip node`: a node agent, against any Kubernetes API."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import ssl
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TypedDict

from clusterip.cli import foreground
from clusterip.client.config import from_kubeconfig
from clusterip.client.rest import Client
from clusterip.clock import Clock, SystemClock
from clusterip.failure import Failure
from clusterip.kernel.gate import Gate
from clusterip.node import runtime
from clusterip.node.agent import Agent
from clusterip.node.server import NodeServer
from clusterip.node.settings import Settings
from clusterip.transport import log

DESCRIPTION = "Run pods on this machine. It is meant to live in the namespaces of a node; ending it stops no pod."
PORT = 10250

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", required=True)
    parser.add_argument("--name", default=os.uname().nodename, help="the Node's name (%(default)s)")
    parser.add_argument("--node-ip", metavar="ADDRESS", required=True, help="IPv4, or IPv4,IPv6")
    parser.add_argument(
        "--pod-cidr", metavar="CIDR", required=True, help="the range of this node's pods, or two: IPv4,IPv6"
    )
    parser.add_argument(
        "--inside",
        metavar="CIDR,...",
        default="",
        help="IPv4 networks that see pods' own addresses; others see the node's (default: all see the pods')",
    )
    parser.add_argument("--cluster-dns", metavar="ADDRESS", action="append", default=[], help="repeatable")
    parser.add_argument("--cluster-domain", metavar="NAME", default="cluster.local")
    parser.add_argument("--root", metavar="DIR", type=Path, default=Path("/var/lib/clusterip"))
    parser.add_argument("--run-dir", metavar="DIR", type=Path, default=Path("/run/clusterip"), help="sockets and state")
    parser.add_argument("--log-root", metavar="DIR", type=Path, default=Path("/var/log/pods"))
    parser.add_argument("--images", metavar="DIR", type=Path, help="the image store (ROOT/images)")
    parser.add_argument("--zygote", metavar="SOCKET", default="", help="who forks the system parts")
    parser.add_argument("--gate", metavar="ADDRESS", default="", help="of the guest that is this node's network")
    parser.add_argument("--gate-token", metavar="FILE", type=Path, help="what opens it")
    parser.add_argument("--cgroup-parent", metavar="PATH", default=os.environ.get("CLUSTERIP_CGROUP", ""))
    parser.add_argument("--max-pods", metavar="N", type=int, default=110)
    parser.add_argument("--drain-seconds", metavar="N", type=float, default=0.25, help="between leaving and SIGTERM")
    parser.add_argument(
        "--strict-drain",
        action="store_true",
        help="SIGTERM only after every node's proxy has heard that the pod leaves",
    )
    parser.add_argument("--crash-loop-longest", metavar="SECONDS", type=float, default=300.0)
    parser.add_argument("--pki", metavar="DIR", type=Path, help="kubelet.crt, kubelet.key and ca.crt (ROOT/pki)")
    parser.add_argument("-v", "--verbosity", type=int, default=2)


def run(args: argparse.Namespace) -> int:
    log.set_up(args.verbosity)
    return foreground.complete(_serve(args, _settings(args), SystemClock()))


def _settings(args: argparse.Namespace) -> Settings:
    places = _places(args.pod_cidr, args.node_ip)
    inside = _networks(args.inside)
    try:
        args.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"cannot make {args.root}: {error.strerror}"
        raise Failure(f"{why}; give a folder that can be written with --root") from error
    return Settings(
        name=args.name,
        **places,
        inside=inside,
        root=args.root,
        run=args.run_dir,
        log_root=args.log_root,
        images=args.images,
        cluster_dns=tuple(args.cluster_dns),
        cluster_domain=args.cluster_domain,
        zygote=args.zygote,
        cgroup_parent=args.cgroup_parent or f"/clusterip/node/{args.name}",
        max_pods=args.max_pods,
        gate=_gate(args.gate, args.gate_token),
        drain_seconds=args.drain_seconds,
        strict_drain=args.strict_drain,
        crash_longest=args.crash_loop_longest,
    )


class Places(TypedDict):
    """The node's address and its pods' range, of each family."""

    node_ip: str
    pod_cidr: IPv4Network
    node_ip_6: str
    pod_cidr_6: IPv6Network | None


def _places(cidrs: str, ips: str) -> Places:
    (cidr, _, cidr_6), (ip, _, ip_6) = cidrs.partition(","), ips.partition(",")
    if bool(cidr_6) != bool(ip_6):
        raise Failure("--pod-cidr and --node-ip: give both of them IPv6, or neither")
    try:
        return {
            "node_ip": str(IPv4Address(ip)),
            "pod_cidr": IPv4Network(cidr),
            "node_ip_6": str(IPv6Address(ip_6)) if ip_6 else "",
            "pod_cidr_6": IPv6Network(cidr_6) if cidr_6 else None,
        }
    except ValueError as error:
        raise Failure(f"--pod-cidr {cidrs}, --node-ip {ips}: {error}") from error


def _networks(text: str) -> tuple[IPv4Network, ...]:
    try:
        return tuple(IPv4Network(each) for each in text.split(",") if each)
    except ValueError as error:
        raise Failure(f"--inside {text}: {error}; give IPv4 networks like 10.244.0.0/16") from error


def _gate(address: str, token: Path | None) -> Gate | None:
    """How to reach the node's guest."""
    if not address:
        return None
    if token is None:
        raise Failure("--gate needs --gate-token, the file with what opens it")
    try:
        return Gate(address, token.read_text().strip())
    except OSError as error:
        raise Failure(f"cannot read --gate-token {token}: {error.strerror}") from error


async def _serve(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    stop = asyncio.Event()
    foreground.on_signals(stop.set)
    context = _tls(args.pki or args.root / "pki")
    async with Client(
        from_kubeconfig(args.kubeconfig), user_agent="kubelet/v1.36.2", field_manager="kubelet"
    ) as client:
        agent = Agent(settings, client, clock, _runtime(settings))
        async with asyncio.TaskGroup() as group:
            serving = None
            if context is not None:
                address = f"{settings.node_ip}:{PORT}"
                server = NodeServer(agent, clock, settings.log_root)
                serving = group.create_task(server.run(address, context), name="server")
            await agent.run(stop)
            if serving is not None:
                serving.cancel()
    return 0


def _runtime(settings: Settings) -> runtime.Runtime | None:
    """The container runtime; without one only system parts run."""
    program, monitor = runtime.find(), shutil.which("conmon")
    if program is None or monitor is None:
        logger.warning(
            "No container runtime: apt-get install runc conmon", extra={"kv": {"runtime": program, "conmon": monitor}}
        )
        return None
    return runtime.Runtime(program, monitor, settings.run / "runc", settings.run / "attach")


def _tls(folder: Path) -> ssl.SSLContext | None:
    """How the node's own API is served; without certificates it is not."""
    certificate, key, authority = folder / "kubelet.crt", folder / "kubelet.key", folder / "ca.crt"
    if not certificate.exists():
        logger.warning("No certificate: logs and exec are not served", extra={"kv": {"file": certificate}})
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
