"""`clusterip kubeconfig`: print the administrator's kubeconfig."""

from __future__ import annotations

import argparse
import sys

from clusterip.cluster.state import default_name, running_cluster
from clusterip.failure import Failure

DESCRIPTION = "Print the administrator's kubeconfig of a running cluster."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=default_name(), help="the cluster (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    folder = running_cluster(args.name)
    try:
        sys.stdout.write(folder.kubeconfig.read_text())
    except OSError as error:
        raise Failure(f"cannot read {folder.kubeconfig}: {error.strerror}; run `clusterip up` again") from error
    return 0
