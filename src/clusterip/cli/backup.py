"""`clusterip backup`: the present of a store in one file, while the cluster runs."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clusterip.cli import stores
from clusterip.cluster.config import parse_name
from clusterip.cluster.folder import Folder
from clusterip.cluster.state import default_name
from clusterip.failure import Failure

if TYPE_CHECKING:
    from clusterip.store import backup
    from clusterip.store.etcdclient import Endpoints

DESCRIPTION = "Save all objects of a cluster, or of an API server, in one file. It may run meanwhile."


@dataclass(frozen=True)
class Place:
    """Where a store is: a file, or in etcd."""

    file: Path | None
    etcd: Endpoints | None = None

    @property
    def shown(self) -> str:
        return str(self.file) if self.etcd is None else f"etcd at {self.etcd.shown} below {self.etcd.prefix}/"


def add_place(parser: argparse.ArgumentParser) -> None:
    """The options that say which store is meant; `restore` has the same."""
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--name", default=default_name(), help="the cluster (default: %(default)s)")
    parser.add_argument("--state", metavar="DIR", type=Path, help="the --state folder of an API server, instead")
    parser.add_argument(
        "--store", metavar="KIND", help="etcd=URL[,URL...], for a cluster that is down or another server"
    )
    stores.add_arguments(parser, "/clusterip/NAME")


def place_of(args: argparse.Namespace) -> Place:
    """Which store the options mean."""
    from clusterip.cluster import etcdrelay
    from clusterip.store.opening import ETCD, FILE, EtcdOptions, check, endpoints

    if args.store is not None and check(args.store) != "sqlite":
        if not args.store.startswith(ETCD):
            raise Failure(f"--store {args.store} keeps nothing that could be saved or restored")
        prefix = args.etcd_prefix or f"/clusterip/{parse_name(args.name)}"
        files = {"authority": args.etcd_cafile, "certificate": args.etcd_certfile, "key": args.etcd_keyfile}
        return Place(None, endpoints(args.store, EtcdOptions(prefix=prefix, **files)))
    if args.state is not None:
        return Place(args.state / FILE)
    folder = Folder.of(parse_name(args.name))
    config = folder.config()
    if config is not None and config.store == "memory":
        raise Failure(f"cluster {folder.name} keeps its objects in memory: there is nothing to save or restore")
    if config is not None and config.store.startswith(ETCD):
        return Place(None, endpoints(config.store, etcdrelay.options(config)))
    return Place(folder.path / FILE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE")
    parser.add_argument("--salvage", action="store_true", help="of a damaged store: save what can be read")


def run(args: argparse.Namespace) -> int:
    from clusterip.store import backup

    place = place_of(args)
    if args.file.exists() and not args.force:
        raise Failure(f"{args.file} exists; --force replaces it")
    if place.file is None:
        assert place.etcd is not None
        saved = _from_etcd(place.etcd, args.file)
    else:
        saved = (backup.salvage if args.salvage else backup.save_file)(place.file, args.file)
    lost = f"; {saved.lost} pieces could not be read" if saved.lost else ""
    print(f"saved {saved.objects} objects of {place.shown} at revision {saved.revision} in {args.file}{lost}")
    return 0


def _from_etcd(endpoints: Endpoints, target: Path) -> backup.Saved:
    from clusterip.store import backup, etcdrestore

    items, revision = asyncio.run(etcdrestore.read(endpoints))
    if not revision:
        raise Failure(f"etcd at {endpoints.shown} has no store below {endpoints.prefix}/: nothing to back up")
    return backup.save_items(items, revision, target)
