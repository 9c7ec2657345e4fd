"""`clusterip kubectl`: run kubectl as the administrator of a cluster."""

from __future__ import annotations

import argparse
import os
import sys

from clusterip.cli.passing import split_name, take_all
from clusterip.cluster.kubectl import any_kubectl
from clusterip.cluster.state import default_name, running_cluster

DESCRIPTION = """Run kubectl as the administrator of a cluster: the one that CLUSTERIP_KUBECTL names, else the one on
PATH, else a real one from the cache (fetched once). `--name CLUSTER` in front chooses the cluster."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    take_all(parser, "[--name CLUSTER] ARGS")


def run(args: argparse.Namespace) -> int:
    name, words = split_name(args.rest, default_name())
    if words[:1] == ["--"]:
        words = words[1:]
    folder = running_cluster(name)
    program = any_kubectl()
    sys.stdout.flush()
    environment = {**os.environ, "KUBECONFIG": str(folder.kubeconfig)}
    os.execve(program, ["kubectl", *words], environment)
