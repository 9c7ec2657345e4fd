"""What all controllers share: caches (caches.py), one way to write (committing.py), one loop a controller.

Stage: shell.  In: informers, a pure reconcile.  Out: writes, committed in order.
Rules: nothing is decided here.  A key is looked at again only when the caches hold what its last writes made, so a
reconcile never acts on a world older than itself; a key whose write failed comes again, later each time.
Truth: client-go's controller pattern.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from clusterip.client.events import EventRecorder
from clusterip.client.informer import Informer
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client
from clusterip.client.workqueue import WorkQueue
from clusterip.clock import Clock
from clusterip.controllers.caches import ALL, Caches, Selection, T
from clusterip.controllers.committing import Writer
from clusterip.controllers.numbers import Queues
from clusterip.controllers.writes import (
    Key,
    Outcome,
    Write,
)
from clusterip.transport.certificates import KeyPair

LEAST_WAIT_SECONDS = 0.01  # nothing becomes true by looking again in the same moment

logger = logging.getLogger(__name__)


class World:
    """What a controller is given: caches, a client to write with, a voice, a clock."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        recorder: EventRecorder,
        clock: Clock,
        authority: KeyPair | None = None,
        volumes: Path | None = None,
        queues: Queues | None = None,
    ) -> None:
        self.client, self.caches, self.recorder, self.clock = client, caches, recorder, clock
        self._writer = Writer(client, caches, recorder)
        self.authority = authority
        """What certificates are signed with."""
        self.volumes = volumes
        """Where the folders of new volumes are made; every node shows them."""
        self.queues = queues
        """Where what happens to keys is counted."""

    def follow(self, ref: ResourceRef, kind: type[T], selection: Selection = ALL) -> Informer[T]:
        return self.caches.follow(ref, kind, selection)

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write in order and wait until the caches show it."""
        await self._writer.commit(writes)


class Part(Protocol):
    """What a controller's start returns."""

    @property
    def name(self) -> str: ...

    async def run(self) -> None: ...


class Loop:
    """One controller: which changes concern which keys, and what is done about a key."""

    def __init__(
        self, name: str, world: World, reconcile: Callable[[Key], Outcome | Awaitable[Outcome]], *, workers: int = 4
    ) -> None:
        self.name, self.world = name, world
        self.queue: WorkQueue[Key] = WorkQueue(listener=world.queues.of(name) if world.queues else None)
        self._reconcile, self._workers = reconcile, workers
        self._sources: list[Informer[Any]] = []
        self._failed: Callable[[Key, Exception], None] | None = None

    def follow(
        self, informer: Informer[T], keys: Callable[[Key, T | None, T | None], Iterable[Key]] | None = None
    ) -> None:
        """Look at the keys that a change concerns; without a function, at the changed object itself."""
        self._sources.append(informer)

        def changed(key: Key, old: T | None, new: T | None) -> None:
            for concerned in (key,) if keys is None else keys(key, old, new):
                self.queue.add(concerned)

        informer.subscribe(changed)

    def on_failure(self, failed: Callable[[Key, Exception], None]) -> None:
        """Call when the writes of a key failed, with the first failure, before the key comes again."""
        self._failed = failed

    async def run(self) -> None:
        """Wait for the caches, then work for ever."""
        for source in self._sources:
            await source.synced()
        logger.debug("Caches are synced", extra={"kv": {"controller": self.name}})
        await self.queue.run(self._work, self._workers)

    async def _work(self, key: Key) -> None:
        found = self._reconcile(key)
        outcome = found if isinstance(found, Outcome) else await found
        if outcome.writes:
            try:
                await self.world.commit(outcome.writes)
            except Exception as error:
                if self._failed is not None:
                    self._failed(key, error)
                raise
        if outcome.again is not None:
            self.queue.add_after(key, max(outcome.again, LEAST_WAIT_SECONDS))
