"""`clusterip speaker`: load-balancer addresses made known on the LAN, against any Kubernetes API."""

from __future__ import annotations

import argparse
import os

from clusterip.cli import foreground
from clusterip.cli.loadbalancer import add_shared, bgp_type, set_up
from clusterip.failure import Failure
from clusterip.speaker.process import MEMBER_PORT, Process, Settings, read_excluded, read_key

DESCRIPTION = "Announce load-balancer addresses from this node until SIGTERM (MetalLB's speaker)."
# flags of MetalLB's speaker that change nothing here
IGNORED = ("--host", "--pprof-bind-address", "--tls-min-version", "--tls-cipher-suites", "--tls-curve-preferences")
IGNORED_TOO = ("--metrics-cert-dir", "--frrk8s-namespace", "--bgp-debounce-timeout")
SWITCHES = ("--ml-wan-config", "--frrk8s-secret-passthrough", "--enable-pprof")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    env = os.environ.get
    add_shared(parser)
    parser.add_argument("--node-name", default=env("METALLB_NODE_NAME", ""), metavar="NAME", help="of this machine")
    parser.add_argument("--pod-name", default=env("METALLB_POD_NAME", ""), metavar="NAME")
    parser.add_argument("--ml-bindaddr", default=env("METALLB_ML_BIND_ADDR", ""), metavar="ADDRESS", help="for beats")
    parser.add_argument("--ml-bindport", default=env("METALLB_ML_BIND_PORT", ""), metavar="PORT", help="default: 7946")
    parser.add_argument("--ml-labels", default=env("METALLB_ML_LABELS", ""), metavar="LABELS", help="of all speakers")
    parser.add_argument("--ml-secret-key-path", default=env("METALLB_ML_SECRET_KEY_PATH", ""), metavar="FOLDER")
    parser.add_argument("--ignore-exclude-lb", nargs="?", const="true", default="", help="use excluded nodes too")
    for flag in (*IGNORED, *IGNORED_TOO):
        parser.add_argument(flag, help=argparse.SUPPRESS)
    for flag in SWITCHES:
        parser.add_argument(flag, nargs="?", const=True, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    server, namespace = set_up(args)
    if not args.node_name:
        raise Failure("which node is this? Give --node-name, or METALLB_NODE_NAME")
    port = args.ml_bindport or str(MEMBER_PORT)
    if not port.isdigit():
        raise Failure(f"--ml-bindport {port}: must be a number")
    settings = Settings(
        server=server,
        namespace=namespace,
        node=args.node_name,
        pod=args.pod_name,
        metrics_port=args.port,
        health_port=args.health_probe_port,
        balancer_class=args.lb_class,
        ignore_excluded=args.ignore_exclude_lb.lower() == "true",
        member_address=args.ml_bindaddr if args.ml_labels else "",
        member_port=int(port),
        member_key=read_key(args.ml_secret_key_path) if args.ml_secret_key_path else b"",
        excluded=read_excluded(),
        bgp_type=bgp_type(),
    )
    process = Process(settings)
    foreground.run(process.run(), stopping=process.withdraw)
    return 0
