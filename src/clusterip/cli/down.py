"""`clusterip down`: end a cluster and remove all that it made."""

from __future__ import annotations

import argparse
import os

from clusterip.cluster.config import parse_name
from clusterip.cluster.folder import Folder, locked
from clusterip.cluster.preflight import require_root
from clusterip.cluster.state import default_name
from clusterip.cluster.stop import down
from clusterip.failure import Failure

DESCRIPTION = "End a cluster, in whatever state it is, and remove all that it made."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=default_name(), help="the cluster (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the store, keys and logs for the next `up`")


def run(args: argparse.Namespace) -> int:
    folder = Folder.of(parse_name(args.name))
    require_root(os.geteuid())
    with locked(folder):
        try:
            ended = down(folder, args.keep)
        except OSError as error:
            raise Failure(f"cannot end cluster {folder.name}: {error}; run `clusterip down` again") from error
    if not ended:
        print(f"no cluster {folder.name}: nothing to do")
    elif args.keep:
        print(f"cluster {folder.name} is down; its store, keys and logs are kept in {folder.path}")
    else:
        print(f"cluster {folder.name} is down; nothing of it is left")
    return 0
