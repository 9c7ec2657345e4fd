"""What a server answers with, from its configuration; read again when the files that say it are written.

Stage: edge.  In: a `Corefile`, the files that it names.  Out: the resolver's `Way`s.
Rules: a Corefile that cannot be read changes nothing; a resolv.conf that cannot be read names nobody.
Limits: other ports and other settings of `kubernetes` need a new start.
Truth: CoreDNS's plugins reload and forward; resolv.conf(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clusterip.clock import Clock
from clusterip.dns import corefile
from clusterip.dns.corefile import Corefile
from clusterip.dns.forward import Forwarder, Server
from clusterip.dns.resolver import Resolver, Way
from clusterip.failure import Failure
from clusterip.kernel.inotify import APPEARED, WRITTEN, Inotify

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: randomness is a parameter
    from socket import socket  # noqa: TID251 - the type only

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 0.2  # a file that is written in steps is read once


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server listens; an empty one is left out."""

    dns: str = "0.0.0.0:53"
    health: str = "0.0.0.0:8080"
    ready: str = "0.0.0.0:8181"
    metrics: str = "0.0.0.0:9153"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a server does: whom it answers what, and where the configuration can be read again."""

    config: Corefile
    addresses: Addresses
    clock: Clock
    dice: Random
    path: Path | None = None  # of the Corefile
    sockets: tuple[socket, socket] | None = None  # UDP and TCP, when they are passed


def ways(config: Corefile, serving: Serving) -> tuple[Way, ...]:
    """The server blocks with the servers that they ask."""
    return tuple(
        Way(
            block,
            tuple(
                Forwarder(each, servers(each.to), block.cache_seconds, serving.clock, serving.dice)
                for each in block.forwards
            ),
        )
        for block in config.blocks
    )


def servers(to: tuple[str, ...]) -> list[Server]:
    """Addresses of servers; a file is a resolv.conf. What cannot be read names nobody."""
    found: list[Server] = []
    for each in to:
        if not each.startswith("/"):
            found.append(corefile.server_address(each))
            continue
        try:
            lines = Path(each).read_text(errors="replace").splitlines()
        except OSError as error:
            logger.warning("Cannot read whom to ask", extra={"kv": {"file": each, "err": error.strerror}})
            continue
        for words in (line.split() for line in lines):
            with contextlib.suppress(ValueError):
                if len(words) > 1 and words[0] == "nameserver":
                    found.append(corefile.server_address(f"[{words[1]}]" if ":" in words[1] else words[1]))
    return list(dict.fromkeys(found))


async def reread(resolver: Resolver, serving: Serving) -> None:
    """Follow the Corefile, and the resolv.confs that it names, as they are written."""
    named = {
        Path(each) for block in serving.config.blocks for way in block.forwards for each in way.to if each[0] == "/"
    }
    own = {serving.path} if serving.path and serving.config.reload else set()
    watched = {path.parent for path in named | own if path.parent.is_dir()}
    if not watched:
        return
    inotify = Inotify()
    try:
        for folder in watched:
            inotify.watch(folder, WRITTEN | APPEARED)
        text = _text(serving.path)
        former = [servers((str(path),)) for path in sorted(named)]
        while True:
            await inotify.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            new, now = _text(serving.path) if own else text, [servers((str(path),)) for path in sorted(named)]
            if (new, now) != (text, former):
                text, former = new, now
                _take(resolver, serving, text)
    finally:
        inotify.close()


def _text(path: Path | None) -> str:
    try:
        return path.read_text() if path is not None else ""
    except OSError:
        return ""


def _take(resolver: Resolver, serving: Serving, text: str) -> None:
    """Answer by the new configuration; ports and the cluster's own settings need a new start."""
    try:
        config = corefile.parse(text, str(serving.path)) if serving.path else serving.config
    except Failure as failure:
        logger.error("The new configuration cannot be read; the old one stays", extra={"kv": {"err": str(failure)}})
        return
    if config.kubernetes != serving.config.kubernetes or config.port != serving.config.port:
        logger.warning("A new port or other settings of kubernetes take effect at the next start")
        config = _with_cluster(config, serving.config)
    resolver.ways = ways(config, serving)
    if resolver.zone is not None:
        resolver.zone.forget_replies()  # another block may have a name of the cluster's now
    logger.info("Reloaded", extra={"kv": {"file": str(serving.path)}})


def _with_cluster(config: Corefile, running: Corefile) -> Corefile:
    """The new blocks, with the cluster as it is served now."""
    return replace(
        config,
        blocks=tuple(
            replace(block, kubernetes=running.kubernetes) if block.kubernetes else block for block in config.blocks
        ),
    )
