"""The configuration of metallb.io as the API has it now: followed, put together, judged.

Stage: snapshot.  In: informers.  Out: a Configuration whenever it changed; the last valid one outlives an invalid one.
Rules: many changes at once are one configuration; what does not change the meaning (a node's heartbeat) is not told.
Truth: MetalLB 0.16's configuration and pool controllers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from clusterip.api.meta import Tree, labels_of, metadata_of
from clusterip.api.metallb import ConfigError, Configuration, Resources
from clusterip.api.metallb_config import Rule, configure, no_more
from clusterip.client import names
from clusterip.client.informer import Informer
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client

logger = logging.getLogger(__name__)


def meaning(tree: Tree) -> Tree:
    """What a configuration depends on."""
    meta = metadata_of(tree)
    head = {"name": meta["name"], "namespace": meta.get("namespace", ""), "labels": labels_of(tree)}
    return {"metadata": head} | {field: tree[field] for field in ("spec", "type", "data") if field in tree}


def labels_only(tree: Tree) -> Tree:
    return {"metadata": {"name": metadata_of(tree)["name"], "labels": labels_of(tree)}}


# field of Resources -> (resource, whether of the configuration's namespace alone, what is read)
SOURCES: dict[str, tuple[ResourceRef, bool, Callable[[Tree], Tree]]] = {
    "pools": (names.IP_ADDRESS_POOLS, True, meaning),
    "l2": (names.L2_ADVERTISEMENTS, True, meaning),
    "bgp": (names.BGP_ADVERTISEMENTS, True, meaning),
    "peers": (names.BGP_PEERS, True, meaning),
    "profiles": (names.BFD_PROFILES, True, meaning),
    "communities": (names.COMMUNITIES, True, meaning),
    "nodes": (names.NODES, False, labels_only),
    "namespaces": (names.NAMESPACES, False, labels_only),
    "secrets": (names.SECRETS, True, meaning),
}
FOR_ADDRESSES = ("pools", "communities", "namespaces")
FOR_SPEAKERS = tuple(SOURCES)

Changed = Callable[[Configuration], None]
Judged = Callable[[str], None]


class Configured:
    """Follows some of the sources; `current` is None until a first valid configuration."""

    def __init__(self, client: Client, namespace: str, fields: Iterable[str], rule: Rule = no_more) -> None:
        self._rule = rule
        self.current: Configuration | None = None
        self.error = ""  # of the newest configuration; empty when it is the current one
        self._changed: list[Changed] = []
        self._judged: list[Judged] = []
        self._waiting = False
        self._informers: dict[str, Informer[Tree]] = {}
        for field in fields:
            ref, is_local, read = SOURCES[field]
            made: Informer[Tree] = Informer(client, ref, read, namespace=namespace if is_local else None)
            self._informers[field] = made
            made.subscribe(self._on_change)

    def subscribe(self, changed: Changed, judged: Judged | None = None) -> None:
        """changed is called with every new valid configuration, judged with every verdict (empty: valid)."""
        self._changed.append(changed)
        if judged is not None:
            self._judged.append(judged)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for field, informer in self._informers.items():
                group.create_task(informer.run(), name=f"informer {field}")
            for informer in self._informers.values():
                await informer.synced()
            self._soon()

    def _on_change(self, key: Any, old: Tree | None, new: Tree | None) -> None:
        if old != new:
            self._soon()

    def _soon(self) -> None:
        if not self._waiting and all(informer.has_synced for informer in self._informers.values()):
            self._waiting = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._waiting = False
        found = {field: _sorted(informer) for field, informer in self._informers.items()}
        try:
            new = configure(Resources(**found), self._rule)
        except ConfigError as error:
            self._refuse(str(error))
            return
        except Exception as error:  # objects that no schema ever saw: nothing of them may end the process
            self._refuse(f"cannot be understood: {type(error).__name__}: {error}")
            return
        self.error = ""
        if new != self.current:
            self.current = new
            for changed in self._changed:
                changed(new)
        self._tell()

    def _refuse(self, error: str) -> None:
        if error != self.error:
            logger.error("Configuration is not valid, the last valid one stays", extra={"kv": {"err": error}})
        self.error = error
        self._tell()

    def _tell(self) -> None:
        for judged in self._judged:
            judged(self.error)


def _sorted(informer: Informer[Tree]) -> tuple[Tree, ...]:
    return tuple(tree for _, tree in sorted(informer.items().items()))
