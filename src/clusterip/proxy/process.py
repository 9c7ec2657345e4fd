"""The proxy put together: informers feed a collector, a runner programs plans, a settler follows, two ports tell.

Stage: all of them; the only module of the proxy that knows every other.
Rules: nothing is written before Services, EndpointSlices and the Node were seen once; ending leaves the rules as they
are, so that traffic goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

import msgspec

from clusterip.client.config import ServerConfig
from clusterip.client.informer import Informer
from clusterip.client.names import ENDPOINT_SLICES, NODES, SERVICES
from clusterip.client.rest import Client
from clusterip.clock import Clock, SystemClock
from clusterip.failure import Failure, told
from clusterip.kernel import sysctl
from clusterip.kernel.conntrack import Conntrack, KernelConntrack
from clusterip.kernel.link import Netlink
from clusterip.proxy import config as configuration
from clusterip.proxy.backends import Backend, BackendSettings
from clusterip.proxy.config import KubeProxyConfiguration
from clusterip.proxy.conntrack import Settler
from clusterip.proxy.health import Health, insights, listener, probes
from clusterip.proxy.model import Family, Node, Plan
from clusterip.proxy.modes import DEFAULT, MODES
from clusterip.proxy.objects import (
    FOREIGN,
    LEAVING_TAINT,
    TRIGGER_TIME,
    EndpointSlice,
    NodeObject,
    Service,
    decoder,
)
from clusterip.proxy.plan import Planner
from clusterip.proxy.runner import Runner, Synced
from clusterip.proxy.snapshot import Collector, addresses_of, zone_of
from clusterip.transport.http import Listener, Request, Response
from clusterip.transport.listening import bind

logger = logging.getLogger(__name__)

ObjectName = tuple[str, str]
REPAIR_SECONDS = 1.0  # between two repairs of what others changed


@dataclass(frozen=True, slots=True)
class Settings:
    """What a proxy is started with."""

    server: ServerConfig
    config: KubeProxyConfiguration
    node_name: str
    service_networks: tuple[IPv4Network, ...] = ()
    source: str = "configuration"


class Proxy:
    """One node's proxy."""

    def __init__(
        self,
        settings: Settings,
        *,
        backend: Backend[Any, Any] | None = None,
        conntrack: Conntrack | None = None,
        clock: Clock | None = None,
        local_addresses: Callable[[], tuple[IPv4Address, ...]] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._local_addresses = local_addresses or _interface_addresses
        first = configuration.first_node(settings.config, settings.node_name, settings.service_networks)
        self._collector = Collector(first)
        self._planner = Planner()
        made_from = BackendSettings(Family.IPV4, settings.config, configuration.masquerade_bit(settings.config))
        self._backend = backend or MODES[settings.config.mode or DEFAULT].make(made_from)
        self.health = Health(self._clock, patience_seconds=2 * configuration.sync_period_seconds(settings.config))
        self.runner: Runner[Any, Any] = Runner(
            self._backend, self._make_plan, self._clock, on_synced=self._on_synced, on_failed=self._on_failed
        )
        self._settler = Settler(conntrack or KernelConntrack())
        self._synced_plan: Plan | None = None
        self._plan_synced = asyncio.Event()
        self._node_known = asyncio.Event()
        self._started = False
        self._triggers: list[float] = []
        self._repaired_at, self._repair_waits = float("-inf"), False

    # -- what comes in -------------------------------------------------------------------------------------------------

    def on_service(self, key: ObjectName, old: Service | None, new: Service | None) -> None:
        self._collector.on_service(key, old, new)
        self.health.metrics.count("sync_proxy_rules_service_changes_total")
        self._changed()

    def on_slice(self, key: ObjectName, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        self._collector.on_slice(key, old, new)
        self.health.metrics.count("sync_proxy_rules_endpoint_changes_total")
        if self._started and new and (moment := _trigger_time(new)):
            self._triggers.append(moment)
        self._changed()

    def on_node(self, key: ObjectName, old: NodeObject | None, new: NodeObject | None) -> None:
        if key[1] != self._collector.node.name:
            return
        if new is None:
            self.health.is_node_eligible = False
            return
        leaving = any(taint.key == LEAVING_TAINT for taint in new.spec.taints or ())
        self.health.is_node_eligible = not leaving and not new.metadata.deletion_timestamp
        if self._collector.on_node(self._node(new)):
            self._changed()
        self._node_known.set()

    def _node(self, found: NodeObject) -> Node:
        """The node as configured and as the API shows it."""
        config, source = self._settings.config, self._settings.source
        reported = addresses_of(found)
        local = tuple(dict.fromkeys((*reported, *self._local_addresses())))
        networks = configuration.node_port_networks(config, source)
        primary = reported[0] if reported else None
        return replace(
            self._collector.node,
            addresses=local,
            zone=zone_of(found),
            pod_traffic=configuration.pod_traffic(config, _pod_cidr(found), source),
            node_port_addresses=configuration.node_port_addresses(networks, primary, local),
        )

    def _changed(self) -> None:
        self.health.queued()
        if self._started:
            self.runner.wake()

    # -- what goes out -------------------------------------------------------------------------------------------------

    def _make_plan(self) -> Plan:
        return self._planner.plan(self._collector.snapshot())

    def _on_synced(self, synced: Synced) -> None:
        self.health.updated(queued_again=self.runner.is_awake)
        metrics, kind = self.health.metrics, "full" if synced.was_full else "partial"
        metrics.observe("sync_proxy_rules_duration_seconds", synced.seconds)
        metrics.observe(f"sync_{kind}_proxy_rules_duration_seconds", synced.seconds)
        now = self._clock.now().timestamp()
        for moment in self._triggers:
            metrics.observe("network_programming_duration_seconds", max(0.0, now - moment))
        self._triggers.clear()
        self._synced_plan = synced.plan
        self._plan_synced.set()
        values = {"changes": synced.changes, "services": len(synced.plan.services), "seconds": f"{synced.seconds:.4f}"}
        logger.debug("Synced", extra={"kv": values})
        if synced.was_full:
            logger.info("Full sync", extra={"kv": values})

    def _on_failed(self) -> None:
        self.health.metrics.count("sync_proxy_rules_nftables_sync_failures_total")

    async def _settle(self) -> None:
        """Settle conntrack entries after each plan, beside the next sync."""
        while True:
            await self._plan_synced.wait()
            self._plan_synced.clear()
            assert self._synced_plan is not None
            work = self._settler.prepare(self._synced_plan)
            if work is None:
                continue
            started = self._clock.monotonic()
            try:
                deleted = await asyncio.to_thread(work)
            except OSError as error:
                logger.error("Cannot settle conntrack entries", extra={"kv": {"err": error}})
                continue
            self.health.metrics.count("conntrack_reconciler_deleted_entries_total", deleted)
            self.health.metrics.observe("conntrack_reconciler_sync_duration_seconds", self._clock.monotonic() - started)
            if deleted:
                logger.info(
                    "Deleted conntrack entries of UDP endpoints that are gone", extra={"kv": {"count": deleted}}
                )

    # -- life ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        logger.info(f"Using {self._backend.mode} Proxier")
        self._apply_sysctls()
        await self._backend.prepare()
        listeners = await self._listen()
        try:
            async with (
                self._backend.watch(self._on_foreign_change),
                Client(self._settings.server, user_agent="kube-proxy/clusterip") as client,
            ):
                await self._follow(client)
        finally:
            for listening in listeners:
                await listening.close()

    async def _follow(self, client: Client) -> None:
        services = Informer(client, SERVICES, decoder(Service), labels=FOREIGN)
        slices = Informer(client, ENDPOINT_SLICES, decoder(EndpointSlice), labels=FOREIGN)
        nodes = Informer(client, NODES, decoder(NodeObject), fields=f"metadata.name={self._collector.node.name}")
        services.subscribe(self.on_service)
        slices.subscribe(self.on_slice)
        nodes.subscribe(self.on_node)
        async with asyncio.TaskGroup() as group:
            for informer in (services, slices, nodes):
                group.create_task(informer.run(), name=f"informer {informer.ref.plural}")
            group.create_task(self._settle(), name="conntrack")
            for part in (services.synced(), slices.synced(), self._wait_for_node()):
                await part
            self._started = True
            self.runner.wake()
            await self.runner.run()

    async def _wait_for_node(self) -> None:
        """Node ports and locality need the Node object; until it is there nothing is programmed."""
        try:
            async with asyncio.timeout(10):
                await self._node_known.wait()
        except TimeoutError:
            logger.warning("Waiting for the Node object", extra={"kv": {"node": self._collector.node.name}})
            await self._node_known.wait()

    def _on_foreign_change(self) -> None:
        """Repair at once, but not in a race with somebody who does the same."""
        if not self._started or self._repair_waits:
            return
        logger.warning("Somebody else changed our rules, repairing them", extra={"kv": {"mode": self._backend.mode}})
        self.health.queued()
        delay = max(0.0, self._repaired_at + REPAIR_SECONDS - self._clock.monotonic())
        self._repair_waits = True
        asyncio.get_running_loop().call_later(delay, self._repair)

    def _repair(self) -> None:
        self._repair_waits, self._repaired_at = False, self._clock.monotonic()
        self.runner.doubt()

    def _apply_sysctls(self) -> None:
        wanted = configuration.conntrack_sysctls(self._settings.config, os.cpu_count() or 1, self._settings.source)
        for name, reason in sysctl.apply(wanted).items():
            logger.warning("The kernel refused a setting", extra={"kv": {"sysctl": name, "err": reason}})

    async def _listen(self) -> list[Listener]:
        config = self._settings.config
        shown = msgspec.to_builtins(config)
        answers = (probes(self.health), insights(self.health, self._backend.mode, shown))
        wanted = zip(configuration.addresses(config), answers, strict=True)
        return [found for address, answer in wanted if (found := await self._serve(address, answer))]

    async def _serve(self, address: str, answer: Callable[[Request], Response]) -> Listener | None:
        """A port that is taken stops a proxy only when it was told so."""
        try:
            sock = bind(address)
        except Failure as failure:
            if self._settings.config.bind_address_hard_fail:
                raise
            logger.error("Going on without a port", extra={"kv": {"address": address, "err": failure}})
            return None
        found = listener(answer)
        await found.listen(sock, None)
        return found


def _interface_addresses() -> tuple[IPv4Address, ...]:
    """The addresses of this network namespace."""
    with Netlink() as netlink:
        found = [address.address.ip for address in netlink.addresses()]
    return tuple(address for address in found if isinstance(address, IPv4Address) and not address.is_loopback)


def _pod_cidr(node: NodeObject) -> IPv4Network | None:
    with contextlib.suppress(ValueError):
        network = ip_network(node.spec.pod_cidr)
        return network if isinstance(network, IPv4Network) else None
    return None


def _trigger_time(found: EndpointSlice) -> float | None:
    """When the pod changed that made this slice change."""
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat((found.metadata.annotations or {}).get(TRIGGER_TIME, "")).timestamp()
    return None


async def serve(settings: Settings) -> None:
    """Run a proxy until SIGTERM or SIGINT."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await Proxy(settings).run()
    except asyncio.CancelledError:
        logger.info("Stopping; the rules stay, so that Services go on working")
    except BaseExceptionGroup as group:
        if (failure := told(group)) is None:
            raise
        raise failure from group
