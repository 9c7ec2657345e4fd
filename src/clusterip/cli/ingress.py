"""`clusterip ingress`: Ingresses by HAProxy, against any Kubernetes API."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from clusterip.cli import foreground
from clusterip.client.config import from_kubeconfig, in_cluster
from clusterip.failure import Failure
from clusterip.ingress.compile import Listening
from clusterip.ingress.controller import Published
from clusterip.ingress.plan import Served
from clusterip.ingress.process import Process, Settings
from clusterip.transport import log

DESCRIPTION = "Carry requests by Ingresses' rules until SIGTERM; HAProxy (apt-get install haproxy) does the work."
logger = logging.getLogger(__name__)

NGINX = "k8s.io/ingress-nginx"
# flags of ingress-nginx's controller that change nothing here
IGNORED = [
    "--election-id",
    "--configmap",
    "--validating-webhook",
    "--validating-webhook-certificate",
    "--validating-webhook-key",
    "--default-backend-service",
    "--default-ssl-certificate",
    "--update-status",
    "--shutdown-grace-period",
    "--tcp-services-configmap",
    "--udp-services-configmap",
    "--enable-metrics",
    "--enable-ssl-passthrough",
    "--disable-leader-election",
    "--enable-annotation-validation",
    "--election-ttl",
    "--sync-period",
    "--profiling",
    "--report-node-internal-ip-address",
    "--ingress-class-by-name",
    "--metrics-per-host",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    env = os.environ.get
    parser.add_argument("--kubeconfig", metavar="FILE", help="identity (default: the pod's own)")
    parser.add_argument("--controller-class", default=NGINX, metavar="NAME", help="of IngressClasses (%(default)s)")
    parser.add_argument("--ingress-class", default="nginx", metavar="NAME", help="by annotation (default: nginx)")
    parser.add_argument(
        "--watch-ingress-without-class", nargs="?", const="true", default="false", metavar="BOOL", help="serve them too"
    )
    parser.add_argument("--watch-namespace", metavar="NAME", help="of Ingresses and Services (default: all)")
    parser.add_argument("--publish-service", default="", metavar="NAMESPACE/NAME", help="whose address Ingresses show")
    parser.add_argument(
        "--publish-status-address", default=env("NODE_IP", ""), metavar="ADDRESSES", help="that Ingresses show instead"
    )
    parser.add_argument("--http", metavar="ADDRESS,...", help="where to listen (default: port 80 of every address)")
    parser.add_argument("--https", metavar="ADDRESS,...", help="for TLS (default: port 443 of every address)")
    parser.add_argument("--http-port", type=int, default=80, metavar="PORT", help="of every address (default: 80)")
    parser.add_argument("--https-port", type=int, default=443, metavar="PORT", help="of every address (default: 443)")
    parser.add_argument("--healthz-port", type=int, default=10254, metavar="PORT", help="and metrics (default: 10254)")
    parser.add_argument("--state", metavar="DIR", help="kept for the next start, which takes HAProxy over")
    parser.add_argument("--haproxy", default="haproxy", metavar="PROGRAM", help="default: haproxy")
    parser.add_argument("--grace", type=float, default=20.0, metavar="SECONDS", help="for requests at the end")
    parser.add_argument("-v", "--v", type=int, default=2, metavar="LEVEL", help="verbosity of the log (default: 2)")
    for flag in IGNORED:
        parser.add_argument(flag, nargs="?", const="", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    log.set_up(args.v)
    if flags := ignored(args):
        logger.warning("Flags that change nothing here", extra={"kv": {"flags": " ".join(flags)}})
    settings = settings_of(args)
    foreground.run(Process(settings).run())
    return 0


def ignored(args: argparse.Namespace) -> list[str]:
    """The flags of ingress-nginx that were given and have no meaning here."""
    return [flag for flag in IGNORED if getattr(args, flag.removeprefix("--").replace("-", "_")) is not None]


def settings_of(args: argparse.Namespace) -> Settings:
    """What the command line says."""
    served = Served(args.controller_class, args.ingress_class, args.watch_ingress_without_class == "true")
    addresses = tuple(filter(None, args.publish_status_address.split(",")))
    return Settings(
        server=from_kubeconfig(args.kubeconfig) if args.kubeconfig else in_cluster(),
        served=served,
        published=Published(_service(args.publish_service), addresses),
        listening=Listening(_places(args.http, args.http_port), _places(args.https, args.https_port)),
        state=Path(args.state) if args.state else None,
        health=f":{args.healthz_port}",
        grace_seconds=args.grace,
        namespace=args.watch_namespace or None,
        program=args.haproxy,
    )


def _service(text: str) -> tuple[str, str] | None:
    namespace, slash, name = text.partition("/")
    if text and not (namespace and slash and name):
        raise Failure(f"--publish-service {text}: must be NAMESPACE/NAME")
    return (namespace, name) if text else None


def _places(text: str | None, port: int) -> tuple[str, ...]:
    """Where to listen, as HAProxy writes it."""
    if text is None:
        return (f":::{port} v4v6",) if Path("/proc/net/if_inet6").exists() else (f"0.0.0.0:{port}",)
    return tuple(filter(None, text.split(",")))
