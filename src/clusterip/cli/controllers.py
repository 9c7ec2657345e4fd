"""`clusterip controllers`: the controllers and the scheduler in one process, against any Kubernetes API."""

from __future__ import annotations

import argparse
import os
import uuid
from pathlib import Path

from clusterip.cli import foreground
from clusterip.client.config import from_kubeconfig, in_cluster
from clusterip.controllers.run import run as run_controllers
from clusterip.failure import Failure
from clusterip.transport import log
from clusterip.transport.certificates import KeyPair

DESCRIPTION = "Run the controllers and the scheduler against a Kubernetes API until SIGTERM."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="identity of the controllers (default: the pod's own)")
    parser.add_argument("--scheduler-kubeconfig", metavar="FILE", help="identity of the scheduler (default: the same)")
    parser.add_argument("--controllers", default="*", metavar="LIST", help='names, "-name" to leave out (default: *)')
    parser.add_argument("--cluster-signing-cert-file", metavar="FILE", help="authority that signs certificates")
    parser.add_argument("--cluster-signing-key-file", metavar="FILE", help="its key (default: nothing is signed)")
    parser.add_argument("--leader-elect", action="store_true", help="work only with Lease kube-controller-manager")
    parser.add_argument("--volumes", metavar="DIR", type=Path, help="where new volumes lie (default: none are made)")
    place = "where /metrics, /healthz and /readyz are (default: nowhere)"
    parser.add_argument("--metrics-bind-address", default="", metavar="IP:PORT", help=place)
    parser.add_argument("-v", "--v", type=int, default=2, metavar="LEVEL", help="verbosity of the log (default: 2)")


def run(args: argparse.Namespace) -> int:
    log.set_up(args.v)
    config = from_kubeconfig(args.kubeconfig) if args.kubeconfig else in_cluster()
    scheduler = from_kubeconfig(args.scheduler_kubeconfig) if args.scheduler_kubeconfig else config
    identity = f"{os.uname().nodename}_{uuid.uuid4()}" if args.leader_elect else ""
    more = {"authority": _authority(args), "volumes": args.volumes, "identity": identity}
    more["page"] = args.metrics_bind_address
    foreground.run(run_controllers(config, scheduler, args.controllers, **more))
    return 0


def _authority(args: argparse.Namespace) -> KeyPair | None:
    """What certificates are signed with."""
    certificate, key = args.cluster_signing_cert_file, args.cluster_signing_key_file
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise Failure("--cluster-signing-cert-file and --cluster-signing-key-file go together")
    try:
        return KeyPair(Path(certificate).read_bytes(), Path(key).read_bytes())
    except OSError as error:
        raise Failure(f"cannot read {error.filename}: {error.strerror}") from None
