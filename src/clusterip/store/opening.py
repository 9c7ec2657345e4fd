"""A store by its name, as commands take it: sqlite, memory, etcd=URL[,URL...].

Stage: edge, at start.  In: the name, the state folder, the options for etcd.  Out: an open store, closed at the end of
the block; or a Failure that says what to do.
Rules: what etcd takes is imported by those who ask for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clusterip.failure import Failure
from clusterip.store.contract import Store, StoreError
from clusterip.store.memory import MemoryStore
from clusterip.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from clusterip.store.etcdclient import Endpoints

ETCD = "etcd="
KINDS = "sqlite, memory or etcd=URL[,URL...]"
FILE = "store.db"


@dataclass(frozen=True, kw_only=True)
class EtcdOptions:
    """How to show oneself to etcd, and where in it the state lies."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    prefix: str = "/clusterip"
    relay: Path | None = None


def check(name: str) -> str:
    """The name of a store, or a Failure."""
    if name.startswith(ETCD):
        from clusterip.store.etcdclient import parse_urls

        parse_urls(name.removeprefix(ETCD))
    elif name not in ("sqlite", "memory"):
        raise Failure(f"--store {name}: use {KINDS}")
    return name


def endpoints(name: str, options: EtcdOptions) -> Endpoints:
    """Where `etcd=...` is."""
    from clusterip.store.etcdclient import Endpoints, parse_urls

    urls = parse_urls(name.removeprefix(ETCD))
    if bool(options.certificate) != bool(options.key):
        raise Failure("--etcd-certfile and --etcd-keyfile: give both, or neither")
    if not options.prefix.startswith("/") or options.prefix.endswith("/"):
        raise Failure(f"--etcd-prefix {options.prefix}: write it as /clusterip")
    return Endpoints(
        urls=urls,
        authority=options.authority,
        certificate=options.certificate,
        key=options.key,
        prefix=options.prefix,
        relay=options.relay,
    )


async def remove(name: str, options: EtcdOptions) -> None:
    """Take everything that a cluster keeps in etcd out of it."""
    from clusterip.store import etcdwire as wire
    from clusterip.store.etcdbatch import Places
    from clusterip.store.etcdclient import EtcdClient

    client = EtcdClient(endpoints(name, options))
    try:
        await client.call("KV/DeleteRange", wire.delete_request(*Places(options.prefix).all))
    except StoreError as error:
        raise Failure(f"{name.removeprefix(ETCD)} does not answer: {error}") from error
    finally:
        await client.close()


@asynccontextmanager
async def opened(name: str, state: Path, options: EtcdOptions) -> AsyncIterator[Store]:
    """The store for the length of the block."""
    check(name)
    if name.startswith(ETCD):
        from clusterip.store import etcd

        async with etcd.opened(endpoints(name, options)) as shared:
            yield shared
        return
    store: Store = MemoryStore() if name == "memory" else SqliteStore(state / FILE)
    try:
        yield store
    finally:
        await store.close()
