"""The policy agent as a process: the API is followed, a table of each family is programmed.

Stage: all of them; the only module of the agent that knows every other.
Rules: nothing is written before Pods, Namespaces, NetworkPolicies and the Node were seen once.  While the API is away
the rules hold; ending leaves them too: `clusterip policy --cleanup` removes them.  A policy that cannot be read is told
by an event of its own.  Ready once the kernel has what the API said.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, NoReturn

from clusterip.client.config import ServerConfig
from clusterip.client.events import WARNING, EventRecorder, Involved
from clusterip.client.informer import Informer
from clusterip.client.names import NAMESPACES, NETWORK_POLICIES, NODES, PODS
from clusterip.client.rest import Client
from clusterip.clock import SystemClock
from clusterip.failure import Failure
from clusterip.kernel.claim import hold, holder
from clusterip.kernel.nft import NftError
from clusterip.kernel.nft_kernel import KernelNft
from clusterip.kernel.nft_monitor import Monitor
from clusterip.policy import metrics
from clusterip.policy.model import Node, Picture, Policy
from clusterip.policy.reading import labels_of, read_node, read_pod, read_policy
from clusterip.policy.runner import Runner
from clusterip.policy.snapshot import Collector
from clusterip.transport.insight import Insight

logger = logging.getLogger(__name__)

FAMILIES = ("ip", "ip6")
CLAIM = "clusterip-network-policies"
FAULT = "NetworkPolicyUnreadable"
PATIENCE_SECONDS, AGAIN_SECONDS = 5.0, 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """What an agent is started with."""

    server: ServerConfig
    node_name: str
    pod_networks: tuple[str, ...] = ()  # in place of the Node's
    health: str = ""  # address and port of the health page and the numbers; empty: none


class Agent:
    """One node's policies."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._given = tuple(ip_network(text, strict=False) for text in settings.pod_networks)
        self.collector = Collector(Node(settings.node_name, pod_networks=self._given), self._wake)
        self.runners: list[Runner] = []
        self.numbers = metrics.registry(self._picture)
        self.ready = asyncio.Event()  # the kernel has what the API said

    def _wake(self) -> None:
        for runner in self.runners:
            runner.wake()

    async def run(self) -> None:
        """Serve until cancelled."""
        held = await claim()
        nft = KernelNft()
        try:
            async with AsyncExitStack() as stack:
                if self._settings.health:
                    await Insight(self.numbers, self.ready.is_set).listen(stack, self._settings.health)
                client = Client(self._settings.server, user_agent="clusterip-policy")
                await self._follow(await stack.enter_async_context(client), nft)
        finally:
            nft.close()
            held.close()

    async def _follow(self, client: Client, nft: KernelNft) -> None:
        informers = self._informers(client)
        recorder = EventRecorder(client, "network-policies", self._settings.node_name, clock=SystemClock())
        async with asyncio.TaskGroup() as group:
            group.create_task(recorder.run(), name="events")
            for informer in informers:
                group.create_task(informer.run(), name=f"informer {informer.ref.plural}")
            for informer, take in zip(informers, self._takers(recorder), strict=True):
                await informer.synced()
                informer.subscribe(take)
            if not self.collector.node.addresses:
                logger.warning("The Node has no address yet", extra={"kv": {"node": self._settings.node_name}})
            for family in await families_here(nft):
                self.runners.append(runner := Runner(family, nft, self._picture, self.numbers))
                group.create_task(_run(runner, nft), name=family)
            await asyncio.gather(*(runner.programmed.wait() for runner in self.runners))
            self.ready.set()
            values = {"policies": len(self._picture().policies), "pods": len(self._picture().pods)}
            logger.info("Policies are programmed", extra={"kv": values})

    def _informers(self, client: Client) -> tuple[Informer[Any], ...]:
        return (
            Informer(client, NODES, self._read_node, fields=f"metadata.name={self._settings.node_name}"),
            Informer(client, NAMESPACES, labels_of),
            Informer(client, PODS, read_pod),
            Informer(client, NETWORK_POLICIES, read_policy),
        )

    def _takers(self, recorder: EventRecorder) -> tuple[Callable[..., None], ...]:
        def take_policy(key: tuple[str, str], old: Policy | None, new: Policy | None) -> None:
            self.collector.on_policy(key, old, new)
            if new is not None and new.fault and (old is None or old.fault != new.fault):
                _tell(recorder, new)

        return self.collector.on_node, self.collector.on_namespace, self.collector.on_pod, take_policy

    def _read_node(self, tree: dict[str, Any]) -> Node:
        found = read_node(tree)
        return Node(found.name, found.addresses, self._given or found.pod_networks)

    def _picture(self) -> Picture:
        return self.collector.picture()


def _tell(recorder: EventRecorder, policy: Policy) -> None:
    """Its pods are cut off: whoever wrote it must hear why."""
    text = f"cannot be read, so its pods get and send nothing: {policy.fault}"
    logger.error("A policy cannot be read, its pods are isolated", extra={"kv": {"policy": policy.key, "err": text}})
    involved = Involved(
        kind="NetworkPolicy",
        name=policy.key.name,
        namespace=policy.key.namespace,
        uid=policy.uid,
        api_version="networking.k8s.io/v1",
    )
    recorder.event(involved, WARNING, FAULT, text)


async def _run(runner: Runner, nft: KernelNft) -> NoReturn:
    """Program, and notice what others do to the table."""
    loop, monitor = asyncio.get_running_loop(), Monitor(runner.table, nft, runner.doubt)
    loop.add_reader(monitor.fileno(), monitor.drain)
    try:
        runner.wake()
        await runner.run()
    finally:
        loop.remove_reader(monitor.fileno())
        monitor.close()


async def families_here(nft: KernelNft) -> Sequence[str]:
    """The families that this kernel's nftables has; Failure without any."""
    found, reasons = [], []
    for family in FAMILIES:
        try:
            await nft.read(Runner(family, nft, lambda: Picture(Node(""))).table)
            found.append(family)
        except NftError as error:
            reasons.append(f"{family}: {error}")
    if not found:
        raise Failure(f"policies need nftables, which this kernel does not have ({'; '.join(reasons)})")
    return found


async def clean_up() -> list[str]:
    """Remove the tables; their names."""
    with closing(KernelNft()) as nft:
        runners = [Runner(family, nft, lambda: Picture(Node(""))) for family in await families_here(nft)]
        return [str(runner.table) for runner in runners if await runner.remove()]


async def claim() -> Any:
    """Hold this network namespace; Failure when another agent does."""
    end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while (held := hold(CLAIM)) is None:
        if asyncio.get_running_loop().time() >= end:
            pid = holder(CLAIM)
            who = f"process {pid}" if pid else "elsewhere"
            raise Failure(f"another policy agent programs this network namespace already ({who}); stop it first")
        await asyncio.sleep(AGAIN_SECONDS)
    return held
