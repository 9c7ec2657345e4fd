"""From what the API says to what each protocol announces.

Stage: shell.  In: informers, configurations, living speakers.  Out: views, told to every protocol.
Rules: many changes at once are one view.  A Service whose address has just lost its pool stays announced until its
address is taken away: it worked, and the address controller decides.
Truth: MetalLB 0.16's speaker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from clusterip.api.metallb import Address, Configuration, Pool, pool_of
from clusterip.client.events import NORMAL, WARNING, EventRecorder, Involved
from clusterip.client.informer import Informer
from clusterip.client.names import ENDPOINT_SLICES, NODES, SERVICES
from clusterip.client.rest import Client
from clusterip.speaker import metrics
from clusterip.speaker.model import Key, Node, Service, Slice, read_node, read_service, read_slice
from clusterip.speaker.view import Announces, View
from clusterip.transport.exposition import Labels, Registry

logger = logging.getLogger(__name__)


class Announcer:
    """All protocols of one speaker."""

    def __init__(
        self, client: Client, node: str, registry: Registry, *, balancer_class: str = "", ignore_excluded: bool = False
    ) -> None:
        self._me, self._class, self._ignore = node, balancer_class, ignore_excluded
        self._registry = registry
        self.protocols: Sequence[Announces] = ()
        self._services: Informer[Service] = Informer(client, SERVICES, read_service)
        self._slices: Informer[Slice] = Informer(client, ENDPOINT_SLICES, read_slice)
        self.nodes: Informer[Node] = Informer(client, NODES, read_node)
        self._slices.index("service", lambda found: (found.service,))
        self._config: Configuration | None = None
        self._alive: frozenset[str] | None = None
        self._pools: dict[Key, tuple[tuple[Address, ...], Pool]] = {}  # of what is announced, as it was last known
        self._dirty: set[Key] = set()
        self._is_waiting = self._is_open = False
        metrics.follow_announced(registry, self._announced)

    # -- news ---------------------------------------------------------------------------------------------------------

    def on_configuration(self, found: Configuration) -> None:
        self._config = found
        self.look_at_all()

    def on_verdict(self, error: str) -> None:
        self._registry.put(metrics.LOADED, float(self._config is not None))
        self._registry.put(metrics.STALE, float(bool(error)))

    def on_alive(self, alive: frozenset[str] | None) -> None:
        self._alive = alive
        self.look_at_all()

    def look_at_all(self) -> None:
        self._look(key for key, service in self._services.items().items() if service.is_balancer)

    def _on_service(self, key: Key, old: Service | None, new: Service | None) -> None:
        if old != new and any(each is not None and each.is_balancer for each in (old, new)):
            self._look((key,))

    def _on_slice(self, key: Key, old: Slice | None, new: Slice | None) -> None:
        if old != new:
            self._look(each.service for each in (old, new) if each is not None)

    def _on_node(self, key: Key, old: Node | None, new: Node | None) -> None:
        if (
            old is None
            or new is None
            or (old.is_cut_off, old.is_excluded, old.labels, old.addresses)
            != (
                new.is_cut_off,
                new.is_excluded,
                new.labels,
                new.addresses,
            )
        ):
            self.look_at_all()

    def _look(self, keys: Iterable[Key]) -> None:
        self._dirty.update(keys)
        if self._dirty and self._is_open and not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_soon(self._settle)

    def repeat(self) -> None:
        """This process was stopped for a while, and others may have taken its part."""
        for protocol in self.protocols:
            protocol.repeat()

    def close(self) -> None:
        """Announce nothing any more, whatever comes."""
        self._is_open = False
        for protocol in self.protocols:
            protocol.withdraw()

    # -- views --------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        self._is_waiting = False
        if self._config is None or not self._is_open:
            return
        keys, self._dirty = sorted(self._dirty), set()
        self._registry.count(metrics.UPDATES, len(keys))
        view = self._view(self._config, keys)
        for protocol in self.protocols:
            try:
                protocol.settle(view, keys)
            except Exception:  # one protocol's fault must not silence another
                self._registry.count(metrics.UPDATE_ERRORS)
                logger.exception("Cannot announce", extra={"kv": {"protocol": protocol.name}})

    def _view(self, config: Configuration, keys: Iterable[Key]) -> View:
        services: dict[Key, Service] = {}
        for key in keys:
            service = self._services.get(*key)
            pool = self._pool(config, service) if service is not None else None
            if service is None or pool is None:
                self._pools.pop(key, None)
                continue
            services[key] = service
            self._pools[key] = (service.addresses, pool)
        return View(
            self._me,
            config,
            services,
            {key: self._pools[key][1] for key in services},
            {key: self._endpoints(key) for key in services},
            {node.name: node for node in self.nodes.items().values()},
            self._alive,
            self._ignore,
        )

    def _pool(self, config: Configuration, service: Service) -> Pool | None:
        """The pool of a Service that is to be announced at all."""
        if not service.is_balancer or service.balancer_class != self._class or not service.addresses:
            return None
        found = pool_of(config.pools, service.addresses)
        known = self._pools.get(service.key)
        return known[1] if found is None and known is not None and known[0] == service.addresses else found

    def _endpoints(self, key: Key) -> frozenset[str]:
        return frozenset[str]().union(*(each.nodes for each in self._slices.by_index("service", key)))

    def _announced(self) -> Mapping[Labels, float]:
        return {
            ("/".join(key), protocol.name, self._me, address): 1.0
            for protocol in self.protocols
            for key, addresses in protocol.announced().items()
            for address in addresses
        }

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, settled: Callable[[], object]) -> None:
        """Follow; nothing is announced before everything was seen once and the other speakers were heard."""
        async with asyncio.TaskGroup() as group:
            followed = (self._services, self._slices, self.nodes)
            for informer in followed:
                group.create_task(informer.run(), name=f"informer {informer.ref.plural}")
            for informer in followed:
                await informer.synced()
            waiting = settled()
            if asyncio.iscoroutine(waiting):
                await waiting
            self._services.subscribe(self._on_service)
            self._slices.subscribe(self._on_slice)
            self.nodes.subscribe(self._on_node)
            self._is_open = True
            self.look_at_all()


class EventVoice:
    """What layer 2 does, as events and statuses."""

    def __init__(self, recorder: EventRecorder, node: str, changed: Callable[[Key], None]) -> None:
        self._recorder, self._node, self.changed = recorder, node, changed

    def assigned(self, service: Service, protocol: str) -> None:
        text = f'announcing from node "{self._node}" with protocol "{protocol}"'
        self._recorder.event(involved(service), NORMAL, "nodeAssigned", text)

    def failed(self, service: Service, addresses: Iterable[Address], protocol: str) -> None:
        for address in addresses:
            text = (
                f'the interfaces specified by LB IP "{address}" doesn\'t exist in assigned node "{self._node}" '
                f'with protocol "{protocol}"'
            )
            self._recorder.event(involved(service), WARNING, "announceFailed", text)


def involved(service: Service) -> Involved:
    return Involved(kind="Service", name=service.key[1], namespace=service.key[0], uid=service.uid)
