"""`clusterip image`: build the catalog, list what is here, load an archive.

Stage: shell.  Rules: words for people here, deeds in node/.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from clusterip.failure import Failure
from clusterip.node import catalog
from clusterip.node.images import ImageStore, Record, default_folder

DESCRIPTION = "Build the catalog's images from Debian packages, list the images that are here, load an archive."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="build the catalog's images; quick when they are built already")
    build.add_argument("names", nargs="*", metavar="NAME", help="only these (nginx, busybox, curlimages/curl, alpine)")
    build.add_argument("--force", action="store_true", help="build anew, with the packages of today")
    listing = actions.add_parser("list", help="list the images that are here")
    listing.add_argument("-o", "--output", choices=("json",), help="print JSON")
    load = actions.add_parser("load", help="load an image archive (docker save, or an OCI layout)")
    load.add_argument("archive", type=Path, metavar="ARCHIVE")
    load.add_argument("--name", help="the name it gets, when the archive names none")


def run(args: argparse.Namespace) -> int:
    store = ImageStore(default_folder(os.environ))
    return {"build": _build, "list": _list, "load": _load}[args.action](store, args)


def _build(store: ImageStore, args: argparse.Namespace) -> int:
    entries = [_entry(name) for name in args.names] or list(catalog.CATALOG)
    from clusterip.node import imagebuild  # only a build needs it, and make asks each time

    todo = entries if args.force else imagebuild.outdated(store, entries)
    if todo:
        imagebuild.build(store, store.folder.parent / "debs", todo, lambda line: print(line, flush=True))
    else:
        print(f"{len(entries)} images are up to date in {store.folder}")
    return 0


def _entry(name: str) -> catalog.Entry:
    for entry in catalog.CATALOG:
        if name in (entry.name, catalog.short_name(entry.name)):
            return entry
    known = ", ".join(catalog.short_name(entry.name) for entry in catalog.CATALOG)
    raise Failure(f'no image "{name}" in the catalog: it has {known}')


def _list(store: ImageStore, args: argparse.Namespace) -> int:
    records = [record for _, record in sorted(store.records().items())]
    if args.output == "json":
        print(json.dumps([asdict(record) | {"path": str(store.path_of(record))} for record in records], indent=1))
        return 0
    if not records:
        print("no images here; build the catalog with: clusterip image build", file=sys.stderr)
        return 0
    rows = [("NAME", "SOURCE", "VERSION", "ID", "SIZE"), *(_row(record) for record in records)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print("   ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))
    return 0


def _row(record: Record) -> tuple[str, str, str, str, str]:
    digest = record.id.removeprefix("sha256:")[:12]
    return catalog.short_name(record.name), record.source, record.version or "-", digest, f"{record.size / 1e6:.1f}MB"


def _load(store: ImageStore, args: argparse.Namespace) -> int:
    from clusterip.node import imageload

    for record in imageload.load(store, args.archive, args.name):
        print(f"loaded {catalog.short_name(record.name)}")
    return 0
