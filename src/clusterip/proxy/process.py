"""The proxy as a process: the API is followed, one or two families are programmed, two ports tell.

Stage: all of them; the only module of the proxy that knows every other.
Rules: nothing is written before Services, EndpointSlices and the Node were seen once; a mode that cannot run here ends
the process with one line; ending leaves the rules as they are, so that traffic goes on.
Truth: cmd/kube-proxy/app/server.go.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from clusterip.api.meta import ObjectKey, Tree
from clusterip.client.config import ServerConfig
from clusterip.client.events import NORMAL, EventRecorder, Involved
from clusterip.client.informer import Informer
from clusterip.client.names import ENDPOINT_SLICES, NODES, SERVICES, ResourceRef
from clusterip.client.rest import Client
from clusterip.clock import Clock, SystemClock
from clusterip.failure import Failure
from clusterip.kernel import sysctl
from clusterip.kernel.conntrack import Conntrack, KernelConntrack
from clusterip.kernel.inotify import rewritten
from clusterip.proxy import resolve, switch
from clusterip.proxy.backends import Backend, BackendSettings
from clusterip.proxy.config import KubeProxyConfiguration, to_tree
from clusterip.proxy.events import ServiceEvents
from clusterip.proxy.family import FamilyProxy
from clusterip.proxy.health import Health, probes
from clusterip.proxy.healthchecks import HealthChecks
from clusterip.proxy.model import Family, IPAddress, IPNetwork
from clusterip.proxy.modes import MODES
from clusterip.proxy.objects import FOREIGN, EndpointSlice, NodeObject, Service, decoder
from clusterip.proxy.pages import Answer, insights, listener
from clusterip.proxy.programmed import ProgrammedLease, node_owner
from clusterip.proxy.sole import claim
from clusterip.proxy.surroundings import Surroundings, service_networks_of
from clusterip.proxy.telling import Telling
from clusterip.transport.http import Listener
from clusterip.transport.listening import bind

logger = logging.getLogger(__name__)

SERVICE_CIDRS = ResourceRef("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)

ObjectName = tuple[str, str]
# objects come by the ten thousand when a proxy starts or many Services change, hardly any in circles; to search 20,000
# young ones takes as long as 200 changes
GC_THRESHOLD = (100_000, 50, 100)
PATIENT_SECONDS = 1.0
IMPATIENT_SECONDS = 3.0  # then it is said that the Node object is waited for


@dataclass(frozen=True, slots=True)
class Settings:
    """What a proxy is started with."""

    server: ServerConfig
    config: KubeProxyConfiguration
    node_name: str
    service_networks: tuple[IPNetwork, ...] = ()
    config_file: Path | None = None


class Proxy:
    """One node's proxy."""

    def __init__(
        self,
        settings: Settings,
        *,
        conntrack: Conntrack | None = None,
        clock: Clock | None = None,
        local_addresses: Callable[[], tuple[IPAddress, ...]] | None = None,
    ) -> None:
        self._settings, self._config = settings, settings.config
        self._clock = clock or SystemClock()
        self._conntrack = conntrack or KernelConntrack()
        self._around = Surroundings(
            self._config, settings.service_networks, on_change=self.look_around, local_addresses=local_addresses
        )
        self.health = Health(self._clock, patience_seconds=2 * resolve.periods(self._config).sync_seconds)
        self.families: list[FamilyProxy] = []

    # -- the node ------------------------------------------------------------------------------------------------------

    def look_around(self) -> None:
        """The node's addresses, labels or networks may have changed."""
        self.health.is_node_eligible = self._around.is_eligible
        for family in self.families:
            family.on_node(self._around.as_seen(family.node))

    def on_node(self, key: ObjectName, old: NodeObject | None, new: NodeObject | None) -> None:
        self._around.on_node(key, old, new)
        if new is None:
            self.health.is_node_eligible = False

    # -- life ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        held = await claim()
        backends = await prepared(self._config)
        logger.info(f"Using {self._config.mode} Proxier")
        apply_sysctls(self._config)
        adjust_oom_score(self._config.oom_score_adj)
        async with AsyncExitStack() as stack:
            stack.callback(held.close)
            for listening in await self._listen():
                stack.push_async_callback(listening.close)
            client = await stack.enter_async_context(self._client())
            await self._follow(client, backends)

    def _client(self) -> Client:
        return Client(self._settings.server, user_agent="kube-proxy/clusterip", asked=self.health.metrics.asked)

    async def _follow(self, client: Client, backends: dict[Family, Backend[Any, Any]]) -> None:
        services = Informer(client, SERVICES, decoder(Service), labels=FOREIGN)
        slices = Informer(client, ENDPOINT_SLICES, decoder(EndpointSlice), labels=FOREIGN)
        nodes = Informer(client, NODES, decoder(NodeObject), fields=f"metadata.name={self._settings.node_name}")
        networks = Informer(client, SERVICE_CIDRS, service_networks_of)
        nodes.subscribe(self.on_node)
        networks.subscribe(self._around.on_networks)
        async with asyncio.TaskGroup() as group:
            if self._settings.config_file:
                group.create_task(_end_when_rewritten(self._settings.config_file), name="configuration")
            followed: list[Informer[Any]] = [services, slices, nodes]
            if not self._settings.service_networks:
                followed.append(networks)
            for informer in followed:
                group.create_task(informer.run(), name=f"informer {informer.ref.plural}")
            await self._wait_for_node()
            await services.synced()
            await slices.synced()
            await _patiently(followed[-1].synced())  # an old API has no ServiceCIDRs
            self.families = self._make_families(backends, slices, self._telling(client, services, slices, group))
            self.look_around()
            group.create_task(self._follow_addresses(), name="addresses")
            for family in self.families:
                services.subscribe(family.on_service)
                slices.subscribe(family.on_slice)
            for family in self.families:
                group.create_task(family.run(), name=family.family.name)
            await asyncio.gather(*(family.programmed_once.wait() for family in self.families))
            gc.freeze()  # what is known by now stays for long: it need not be searched again and again
            if not await switch.remove(switch.others(self._config.mode), backends):
                logger.info("Other modes left nothing", extra={"kv": {"mode": self._config.mode}})

    async def _wait_for_node(self) -> None:
        """Node ports and locality need the Node object; until it is there nothing is programmed."""
        try:
            async with asyncio.timeout(IMPATIENT_SECONDS):
                await self._around.known.wait()
        except TimeoutError:
            values = {"node": self._settings.node_name}
            logger.warning("Waiting for the Node object and its addresses", extra={"kv": values})
            await self._around.known.wait()

    async def _follow_addresses(self) -> None:
        """Take the machine's addresses as they come and go."""
        loop, monitor = asyncio.get_running_loop(), self._around.monitor()
        loop.add_reader(monitor.fileno(), monitor.drain)
        try:
            self.look_around()
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()

    def _telling(
        self,
        client: Client,
        services: Informer[Service],
        slices: Informer[EndpointSlice],
        group: asyncio.TaskGroup,
    ) -> Telling:
        """Who is told what the families do, each with its task."""
        node_name, clock = self._settings.node_name, self._clock
        recorder = EventRecorder(client, "kube-proxy", node_name, clock=clock)
        recorder.event(Involved(kind="Node", name=node_name, uid=node_name), NORMAL, "Starting", "")

        def uid(key: ObjectKey) -> str:
            found = services.get(*key)
            return found.metadata.uid if found else ""

        events = ServiceEvents(recorder, node_name, uid)
        checks = HealthChecks(lambda: self.health.is_healthy, events)
        lease = ProgrammedLease(client, node_name, lambda: slices.resource_version, clock, owner=self._owner)
        slices.subscribe(lambda *_: lease.seen())
        telling = Telling(self._config.mode, clock, self.health, events, checks, lease)
        services.subscribe(lambda *_: telling.census.changed("service"))
        slices.subscribe(lambda *_: telling.census.changed("endpoint"))
        for name, part in (("events", recorder.run()), ("health checks", checks.run()), ("lease", lease.run())):
            group.create_task(part, name=name)
        return telling

    def _owner(self) -> Tree | None:
        """Whose the Lease is."""
        node = self._around.node
        return node_owner(node.metadata.name, node.metadata.uid) if node else None

    def _make_families(
        self, backends: dict[Family, Backend[Any, Any]], slices: Informer[EndpointSlice], telling: Telling
    ) -> list[FamilyProxy]:
        """One for each family that can be had; the node's own must be."""
        primary = self._around.primary_family
        if primary not in backends:
            raise Failure(f"{self._config.mode} mode cannot run here for IPv{primary.value}, the node's own IP family")
        stacks = "dual-stack" if len(backends) > 1 else "single-stack"
        logger.info(f"kube-proxy running in {stacks} mode", extra={"kv": {"primary ipFamily": f"IPv{primary.value}"}})
        for text in resolve.warnings(self._config, primary):
            logger.warning(text)
        self.health.expect(backends)
        telling.follow(backends)
        order = sorted(backends, key=lambda family: family is not primary)
        return [self._make_family(backends[family], slices, telling) for family in order]

    def _make_family(
        self, backend: Backend[Any, Any], slices: Informer[EndpointSlice], telling: Telling
    ) -> FamilyProxy:
        settings = self._settings
        node = resolve.first_node(
            self._config, settings.node_name, backend.family, backend.traits, settings.service_networks
        )
        return FamilyProxy(
            backend,
            node,
            resolve.periods(self._config),
            telling,
            self._clock,
            conntrack=self._conntrack,
            slices_revision=lambda: slices.resource_version,
        )

    async def _listen(self) -> list[Listener]:
        places = (self._config.healthz_bind_address, self._config.metrics_bind_address)
        answers = (
            probes(self.health),
            insights(self.health, self._config.mode, to_tree(self._config), profiling=self._config.enable_profiling),
        )
        wanted = zip(places, answers, strict=True)
        return [found for place, answer in wanted if place and (found := await self._serve(place, answer))]

    async def _serve(self, address: str, answer: Answer) -> Listener | None:
        """A port that is taken stops a proxy only when it was told so."""
        try:
            sock = bind(address)
        except Failure as failure:
            if self._config.bind_address_hard_fail:
                raise
            logger.error("Going on without a port", extra={"kv": {"address": address, "err": failure}})
            return None
        found = listener(answer)
        await found.listen(sock, None)
        return found


async def initialize(config: KubeProxyConfiguration) -> None:
    """What needs full root, and nothing else."""
    await prepared(config)
    apply_sysctls(config)


def apply_sysctls(config: KubeProxyConfiguration) -> None:
    """Settings of connection tracking; larger ones that are there stay."""
    wanted = resolve.conntrack_sysctls(config, os.cpu_count() or 1)
    smaller = {name: value for name, value in wanted.items() if _now(name) < value}
    for name, reason in sysctl.apply(smaller).items():
        logger.info("The kernel keeps its own setting", extra={"kv": {"sysctl": name, "err": reason}})


def _now(name: str) -> int:
    """What the kernel has, or nothing when it cannot be read."""
    try:
        return int(sysctl.read(name))
    except (OSError, ValueError):
        return -1


def adjust_oom_score(score: int) -> None:
    """How soon the kernel ends this process when memory is short."""
    try:
        Path("/proc/self/oom_score_adj").write_text(str(score))
    except OSError as error:
        logger.debug("Cannot set oom_score_adj", extra={"kv": {"err": error.strerror}})


async def prepared(config: KubeProxyConfiguration) -> dict[Family, Backend[Any, Any]]:
    """The mode's backend of each family that can be had here; Failure when there is none."""
    found: dict[Family, Backend[Any, Any]] = {}
    reasons: list[Failure] = []
    for family in Family:
        backend = MODES[config.mode].make(BackendSettings(family, config, resolve.masquerade_bit(config)))
        try:
            await backend.prepare()
            found[family] = backend
        except Failure as failure:
            reasons.append(failure)
    if not found:
        raise reasons[0]
    for reason in reasons:
        logger.warning("One IP family cannot be had", extra={"kv": {"err": reason}})
    return found


async def _end_when_rewritten(path: Path) -> NoReturn:
    """Whoever started this proxy starts it again, and it reads the file anew."""
    await rewritten(path)
    raise Failure(f"{path} has changed: ending, so that the next start reads it")


async def _patiently(wanted: Awaitable[None]) -> None:
    """Wait a moment for what may never come."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENT_SECONDS):
            await wanted


async def serve(settings: Settings) -> None:
    """Run a proxy until it is cancelled."""
    gc.set_threshold(*GC_THRESHOLD)
    try:
        await Proxy(settings).run()
    except asyncio.CancelledError:
        logger.info("Stopping; the rules stay, so that Services go on working")
        raise
