"""A speaker as a process.

Stage: all of them; the only module of this part that knows every other.
Rules: told to stop, it says farewell first, so that another node takes over at once.  An API that is away changes
nothing of what is announced.
Truth: MetalLB's speaker: its ports, its files, its events' component.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import yaml

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.api.metallb_config import RULES
from clusterip.client.config import ServerConfig
from clusterip.client.events import EventRecorder
from clusterip.client.metallb import FOR_SPEAKERS, Configured
from clusterip.client.metallb_state import KIND, NODE, SPEAKER, StateReporter, state_tree
from clusterip.client.names import PODS
from clusterip.client.rest import Client, Unreachable
from clusterip.client.scrapers import Scrapers, show
from clusterip.clock import Clock, SystemClock
from clusterip.failure import Failure
from clusterip.kernel.packet import KernelLan, Lan
from clusterip.speaker import bfd_metrics, bgp_metrics, metrics
from clusterip.speaker.announcer import Announcer, EventVoice
from clusterip.speaker.bgp import Bgp, Ground
from clusterip.speaker.bgp_link import KernelPlace
from clusterip.speaker.gossip import Gossip
from clusterip.speaker.layer2 import Layer2
from clusterip.speaker.members import Members
from clusterip.speaker.model import Key, Node
from clusterip.speaker.status import BGP, LAYER2, StatusWriter, by_interfaces, by_peers
from clusterip.transport.exposition import Registry
from clusterip.transport.insight import Insight

logger = logging.getLogger(__name__)

COMPONENT = "metallb-speaker"
MEMBER_PORT = 7946
SECRET_FILE = "secretkey"
EXCLUDED_FILE = Path("/etc/metallb/excludel2.yaml")
EXCLUDED = r"^docker.*|^cbr.*|^dummy.*|^virbr.*|^lxcbr.*|^veth.*|^lo$|^cali.*|^tunl.*|^flannel.*|^kube-ipvs.*|^cni.*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a speaker is started with."""

    server: ServerConfig
    namespace: str
    node: str
    pod: str = ""
    metrics_port: int = 9120
    health_port: int = 17472
    balancer_class: str = ""
    ignore_excluded: bool = False
    member_address: str = ""  # empty: nobody looks after the other speakers
    member_port: int = MEMBER_PORT
    member_key: bytes = b""
    excluded: re.Pattern[str] = re.compile(EXCLUDED)
    bgp_type: str = ""


def read_key(folder: str) -> bytes:
    """The secret that all speakers share."""
    path = Path(folder, SECRET_FILE)
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read the speakers' secret {path}: {error.strerror}") from error


def read_excluded(path: Path = EXCLUDED_FILE) -> re.Pattern[str]:
    """The interfaces on which nothing is announced."""
    try:
        found = yaml.safe_load(path.read_text()) or {}
        patterns = found.get("announcedInterfacesToExclude") or []
        return re.compile("|".join(f"({each})" for each in patterns) or r"(?!)")
    except FileNotFoundError:
        return re.compile(EXCLUDED)
    except (OSError, yaml.YAMLError, re.error, AttributeError, TypeError) as error:
        raise Failure(f"cannot use {path}: {' '.join(str(error).split())}") from error


class Process:
    """One speaker."""

    def __init__(
        self, settings: Settings, lan: Lan | None = None, clock: Clock | None = None, place: Ground | None = None
    ) -> None:
        self._settings, self._lan, self._clock = settings, lan or KernelLan(), clock or SystemClock()
        self._place: Ground = place or KernelPlace()
        self._registry: Registry = metrics.registry(*bgp_metrics.METRICS, *bfd_metrics.METRICS)
        self._is_ready = False
        self._gossip: Gossip | None = None
        self._announcer: Announcer | None = None

    async def run(self) -> None:
        """Serve until cancelled; then withdraw."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(settings.server, user_agent="metallb-speaker/clusterip"))
            await self._show(stack, client)
            announcer = self._announcer = self._made(client)
            gossip = self._gossip = await self._talk(announcer)
            try:
                await self._work(client, announcer, gossip)
            finally:
                self.withdraw()
                for protocol in announcer.protocols:
                    await protocol.leave()
                if gossip is not None:
                    gossip.close()

    def _made(self, client: Client) -> Announcer:
        settings = self._settings
        return Announcer(
            client,
            settings.node,
            self._registry,
            balancer_class=settings.balancer_class,
            ignore_excluded=settings.ignore_excluded,
        )

    async def _talk(self, announcer: Announcer) -> Gossip | None:
        settings = self._settings
        if not settings.member_address:
            logger.info("Other speakers are not looked after: one has to run on every node")
            return None
        if not settings.member_key:
            logger.warning("The speakers have no secret: anybody on the network can speak as one")
        members = Members(settings.node, settings.member_key, secrets.randbits(63) + 1)
        announcer.on_alive(members.alive)
        changed, stalled = lambda: announcer.on_alive(members.alive), announcer.repeat
        gossip = Gossip(members, changed, self._clock, settings.member_port, stalled)
        announcer.nodes.subscribe(lambda *_: gossip.set_peers(peers(announcer.nodes.items(), settings.node)))
        await gossip.open(settings.member_address)
        return gossip

    async def _work(self, client: Client, announcer: Announcer, gossip: Gossip | None) -> None:
        settings = self._settings
        recorder = EventRecorder(client, COMPONENT, settings.node, clock=self._clock)
        writers = [
            StatusWriter(client, sort, settings.namespace, settings.node, said)
            for sort, said in ((LAYER2, self._interfaces), (BGP, self._peers))
        ]
        voices = [EventVoice(recorder, settings.node, writer.changed) for writer in writers]
        layer2 = Layer2(self._lan, voices[0], self._registry, self._clock, settings.excluded)
        bgp = Bgp(self._place, voices[1], self._registry, self._clock)
        announcer.protocols = (layer2, bgp)
        configured = Configured(client, settings.namespace, FOR_SPEAKERS, RULES[settings.bgp_type])
        configured.subscribe(announcer.on_configuration, announcer.on_verdict)
        state = StateReporter(client, self._state(), SPEAKER, self._clock)
        configured.subscribe(lambda _: None, state.judged)
        async with asyncio.TaskGroup() as group:
            for work in (recorder.run(), state.run(), configured.run(), layer2.run(), bgp.run()):
                group.create_task(work)
            group.create_task(self._own_statuses(client, writers), name="statuses")
            if gossip is not None:
                group.create_task(gossip.run(), name="beats")
            group.create_task(announcer.run(gossip.settled if gossip is not None else lambda: None), name="announcer")
            self._is_ready = True

    def _state(self) -> Tree:
        settings = self._settings
        labels = {KIND: "speaker", NODE: settings.node}
        return state_tree(f"speaker-{settings.node}", settings.namespace, labels, None)

    async def _own_statuses(self, client: Client, writers: Iterable[StatusWriter]) -> None:
        """Statuses go with the pod that wrote them."""
        owner = await own_pod(client, self._settings.pod, self._settings.namespace)
        async with asyncio.TaskGroup() as group:
            for writer in writers:
                writer.owner = owner
                group.create_task(writer.run())

    def _peers(self, key: Key) -> Tree | None:
        """The routers that hear of a Service."""
        for protocol in self._announcer.protocols if self._announcer is not None else ():
            if isinstance(protocol, Bgp):
                return by_peers(protocol.peers_of(key))
        return None

    def _interfaces(self, key: Key) -> Tree | None:
        """What layer 2 announces of a Service: the interfaces; none for all of them."""
        for protocol in self._announcer.protocols if self._announcer is not None else ():
            if isinstance(protocol, Layer2) and key in protocol.table.services():
                return by_interfaces(protocol.table.services()[key][1] or frozenset())
        return None

    def withdraw(self) -> None:
        """Told to stop: others hear it at once, and take over while the last packets still come here."""
        if self._announcer is not None:
            self._announcer.close()
        if self._gossip is not None:
            self._gossip.leave()

    async def _show(self, stack: AsyncExitStack, client: Client) -> None:
        insight, scrapers = Insight(self._registry, lambda: self._is_ready), Scrapers(client, self._clock)
        health = f"127.0.0.1:{self._settings.health_port}"
        await show(stack, insight, scrapers, COMPONENT, self._settings.metrics_port, health)


def peers(nodes: Mapping[Key, Node], me: str) -> dict[str, str]:
    """Where the other nodes' speakers are."""
    return {node.name: str(node.addresses[0]) for node in nodes.values() if node.addresses and node.name != me}


async def own_pod(client: Client, name: str, namespace: str) -> Tree | None:
    """A reference to this pod; None outside of one."""
    if not name:
        return None
    try:
        pod = await client.get(PODS, name, namespace)
    except (ApiError, Unreachable):
        return None
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod["metadata"]["uid"]}
