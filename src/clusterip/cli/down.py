"""`clusterip down`: end a cluster and remove all that it made."""

from __future__ import annotations

import argparse
import asyncio
import os

from clusterip.cluster.config import Config, parse_name
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
        config = _config(folder)
        try:
            ended = down(folder, args.keep)
        except OSError as error:
            raise Failure(f"cannot end cluster {folder.name}: {error}; run `clusterip down` again") from error
    if not ended:
        print(f"no cluster {folder.name}: nothing to do")
    elif args.keep:
        print(f"cluster {folder.name} is down; its store, keys and logs are kept in {folder.path}")
    else:
        left = _leave_etcd(config) if config is not None else ""
        print(f"cluster {folder.name} is down; {left or 'nothing of it is left'}")
    return 0


def _config(folder: Folder) -> Config | None:
    """What the cluster is; None when nobody can tell any more."""
    try:
        return folder.config()
    except (Failure, KeyError, TypeError, ValueError):
        return None


def _leave_etcd(config: Config) -> str:
    """Take the state out of etcd, if that is where it was; in words what is left there."""
    from clusterip.cluster import etcdrelay
    from clusterip.store import opening

    if not config.store.startswith(opening.ETCD):
        return ""
    options = etcdrelay.options(config)
    try:
        asyncio.run(opening.remove(config.store, options))
    except Failure as failure:
        return f"its state is left in etcd below {options.prefix}/: {failure}"
    return ""
