"""`clusterip restore`: put a backup in a store's place; what was there is replaced only when asked for, and kept."""

from __future__ import annotations

import argparse
import asyncio

from clusterip.cli.backup import add_place, place_of
from clusterip.cluster.config import parse_name
from clusterip.cluster.folder import Folder
from clusterip.cluster.state import SUPERVISOR
from clusterip.failure import Failure

DESCRIPTION = "Put a backup in a store's place. The cluster, or the API server, must be down: `clusterip down --keep`."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--force", action="store_true", help="also where a store is already; a file is kept beside it")


def run(args: argparse.Namespace) -> int:
    from clusterip.store import backup, etcdrestore

    if args.state is None and args.store is None:
        _refuse_running(Folder.of(parse_name(args.name)))
    place = place_of(args)
    if place.file is None:
        assert place.etcd is not None
        items, revision = backup.read(args.file)
        saved = asyncio.run(etcdrestore.restore(place.etcd, items, revision, args.force))
    else:
        saved = backup.restore_file(args.file, place.file, args.force)
    print(f"restored {saved.objects} objects into {place.shown}; revisions go on after {saved.revision}")
    return 0


def _refuse_running(folder: Folder) -> None:
    if SUPERVISOR in folder.living():
        raise Failure(f"cluster {folder.name} runs; end it first: clusterip down --keep --name {folder.name}")
