"""`clusterip loadbalancer`: addresses for Services by MetalLB's API, against any Kubernetes API."""

from __future__ import annotations

import argparse
import os

from clusterip.api.metallb_config import RULES
from clusterip.cli import foreground
from clusterip.client.config import ServerConfig, from_kubeconfig, in_cluster
from clusterip.failure import Failure
from clusterip.loadbalancer.process import DISABLED, ENABLED, ONLY, Process, Settings
from clusterip.transport import log

DESCRIPTION = "Give addresses to Services of type LoadBalancer until SIGTERM (MetalLB's controller and its webhooks)."
NAMESPACE = "metallb-system"
LEVELS = ("all", "debug", "info", "warn", "error", "none")
DEBUG_VERBOSITY, NORMAL_VERBOSITY = 4, 2
# flags of MetalLB's controller that change nothing here
IGNORED = ("--host", "--pprof-bind-address", "--cert-dir", "--tls-min-version", "--tls-cipher-suites")
IGNORED_TOO = ("--tls-curve-preferences", "--metrics-cert-dir", "--pod-name")
SWITCHES = ("--disable-cert-rotation", "--webhook-http2", "--enable-pprof")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    env = os.environ.get
    add_shared(parser)
    parser.add_argument("--ml-secret-name", default=env("METALLB_ML_SECRET_NAME", ""), metavar="NAME")
    parser.add_argument("--deployment", default=env("METALLB_DEPLOYMENT", ""), metavar="NAME", help="owns the secret")
    parser.add_argument("--webhook-mode", choices=(ENABLED, DISABLED, ONLY), default=ENABLED)
    parser.add_argument("--webhook-secret", default="metallb-webhook-cert", metavar="NAME")
    parser.add_argument("--webhook-port", type=int, default=9443, metavar="PORT")
    parser.add_argument("--cert-service-name", default="metallb-webhook-service", metavar="NAME")
    for flag in (*IGNORED, *IGNORED_TOO):
        parser.add_argument(flag, help=argparse.SUPPRESS)
    for flag in SWITCHES:
        parser.add_argument(flag, nargs="?", const=True, help=argparse.SUPPRESS)


def add_shared(parser: argparse.ArgumentParser) -> None:
    """What controller and speaker both take."""
    env = os.environ.get
    parser.add_argument("--kubeconfig", metavar="FILE", help="identity (default: the pod's own)")
    parser.add_argument("--namespace", default=env("METALLB_NAMESPACE", ""), help="of the configuration")
    parser.add_argument("--port", type=int, default=9120, help="of the metrics, 0 for none (default: 9120)")
    parser.add_argument("--health-probe-port", type=int, default=17472, metavar="PORT", help="default: 17472")
    parser.add_argument("--lb-class", default="", metavar="CLASS", help="serve Services of that class alone")
    parser.add_argument("--log-level", choices=LEVELS, default="info")


def run(args: argparse.Namespace) -> int:
    server, namespace = set_up(args)
    settings = Settings(
        server=server,
        namespace=namespace,
        metrics_port=args.port,
        health_port=args.health_probe_port,
        webhook_port=args.webhook_port,
        webhook_mode=args.webhook_mode,
        webhook_secret=args.webhook_secret,
        webhook_service=args.cert_service_name,
        balancer_class=args.lb_class,
        member_secret=args.ml_secret_name,
        deployment=args.deployment,
        bgp_type=bgp_type(),
    )
    foreground.run(Process(settings).run())
    return 0


def set_up(args: argparse.Namespace) -> tuple[ServerConfig, str]:
    """Logging; the API, and the namespace."""
    log.set_up(DEBUG_VERBOSITY if args.log_level in ("all", "debug") else NORMAL_VERBOSITY)
    server = from_kubeconfig(args.kubeconfig) if args.kubeconfig else in_cluster()
    return server, args.namespace or (NAMESPACE if args.kubeconfig else server.namespace)


def bgp_type() -> str:
    found = os.environ.get("METALLB_BGP_TYPE", "")
    if found not in RULES:
        raise Failure(f"METALLB_BGP_TYPE={found}: must be one of {', '.join(filter(None, RULES))}")
    return found
