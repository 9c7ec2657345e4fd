"""The policy agent on a node of a small network: the API says who may speak, sockets find out."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from apiserver.serving import Api, serving
from clusterip.api.meta import Tree
from clusterip.client.names import EVENTS, NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS
from clusterip.client.rest import Client
from clusterip.policy import metrics
from clusterip.policy.model import Policy
from clusterip.policy.process import FAULT, NETWORK_POLICIES, Agent, Settings, clean_up
from clusterip.policy.reading import read_policy
from kernel.nft_places import program_in
from packets.lab import Lab
from packets.machines import ANSWER_SECONDS
from packets.nodeproxy import Loop
from policy.pictures import policy
from proxy.clusters import Cluster

pytestmark = pytest.mark.root

WEB, DB, CLIENT, FAR = "10.244.1.5", "10.244.1.6", "10.244.1.9", "10.244.2.5"
DB_6, FAR_6 = "fd00:10:244:1::6", "fd00:10:244:2::5"
SILENT = 0.3
WAIT_SECONDS = 60.0
DENY = {"podSelector": {}, "policyTypes": ["Ingress"]}
DB_ONLY = {"podSelector": {"matchLabels": {"app": "db"}}}
FRONTEND = DB_ONLY | {"ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "frontend"}}}]}]}


class World:
    """One node with an API server and an agent in its network, on a loop of their own."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self._loop = lab, Loop(lab.nodes["node-1"])
        self._stack = AsyncExitStack()
        self.api: Api
        self.client: Client
        self.call(self._start())

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.call(work, WAIT_SECONDS)

    async def _start(self) -> None:
        self._server = AsyncExitStack()
        self.api = await self._server.enter_async_context(serving())
        self.client = await self._stack.enter_async_context(self.api.client())
        await self._make(NAMESPACES, {"metadata": {"name": "default"}}, {"metadata": {"name": "b"}})
        for namespace in ("default", "b"):
            await self._make(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": namespace}})
        spec = {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]}
        await self._make(NODES, {"metadata": {"name": "node-1"}, "spec": spec})
        self.start_agent()

    async def _make(self, ref: Any, *trees: Tree) -> None:
        for tree in trees:
            try:
                await self.client.create(ref, {"apiVersion": ref.api_version, "kind": ref.kind, **tree})
            except Exception as error:
                if getattr(error, "code", 0) != 409:
                    raise

    def start_agent(self) -> None:
        self.agent = Agent(Settings(self.api.config(), "node-1"))
        self._running = asyncio.ensure_future(self.agent.run())

    async def stop_agent(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def pod(self, name: str, *addresses: str, namespace: str = "default", **labels: str) -> None:
        async def make() -> None:
            container = {"name": "c", "image": "x", "ports": [{"name": "web", "containerPort": 8080}]}
            spec = {"nodeName": f"node-{addresses[0].split('.')[2]}", "containers": [container]}
            meta = {"name": name, "namespace": namespace, "labels": labels}
            await self._make(PODS, {"metadata": meta, "spec": spec})
            status = {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": each} for each in addresses]}
            await self.client.patch(PODS, name, namespace, {"status": status}, type="merge", subresource="status")

        self.call(make())

    def policy(self, name: str, spec: Tree, namespace: str = "default") -> None:
        self.call(self._make(NETWORK_POLICIES, policy(name, spec, namespace)))

    def delete(self, name: str) -> None:
        self.call(self.client.delete(NETWORK_POLICIES, name, "default"))

    def until(self, condition: Callable[[], bool]) -> None:
        """Packets follow the API soon."""

        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    def asks(self, source: str, destination: str, *, seconds: float = ANSWER_SECONDS) -> bool:
        return self.lab.ask(source, destination, seconds=seconds) not in ("silence", "refused")

    def passes(self, source: str, destination: str) -> None:
        self.until(lambda: self.asks(source, destination, seconds=SILENT))

    def drops(self, source: str, destination: str) -> None:
        self.until(lambda: self.lab.ask(source, destination, seconds=SILENT) == "silence")

    async def end_server(self) -> None:
        await self._server.aclose()

    def close(self) -> None:
        self.call(self.stop_agent())
        self.call(self._stack.aclose())
        self.call(self.end_server())
        self._loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    with Lab() as lab:
        for address in (WEB, DB, FAR, CLIENT, DB_6):
            lab.serve(address, 8080)
            lab.serve(address, 5353, "udp")
        found = World(lab)
        try:
            found.pod("web", WEB, app="web", role="frontend")
            found.pod("db", DB, DB_6, app="db")
            found.pod("far", FAR, FAR_6, role="frontend")
            found.passes(WEB, f"{DB}:8080")
            yield found
        finally:
            found.close()


def test_policies_come_change_and_go(world: World) -> None:
    world.pod("other", CLIENT, namespace="b")
    world.passes(CLIENT, f"{DB}:8080")
    world.policy("deny", DENY)
    world.drops(CLIENT, f"{DB}:8080")
    world.drops(FAR_6, f"[{DB_6}]:8080")
    assert world.asks("192.168.4.101", f"{DB}:8080")  # the node's probes
    assert world.asks(DB, f"{FAR}:8080")  # replies come back
    assert world.asks(DB, f"{FAR}:5353/udp")
    world.policy("frontend", FRONTEND)
    world.passes(FAR, f"{DB}:8080")
    world.passes(FAR_6, f"[{DB_6}]:8080")
    world.passes(WEB, f"{DB}:5353/udp")
    world.drops(CLIENT, f"{DB}:8080")
    world.drops(FAR, f"{WEB}:8080")
    of_b = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}}
    world.policy("b", DB_ONLY | {"ingress": [{"from": [of_b], "ports": [{"port": "web"}]}]})
    world.passes(CLIENT, f"{DB}:8080")
    world.drops(CLIENT, f"{DB}:5353/udp")
    for name in ("b", "frontend", "deny"):
        world.delete(name)
    world.passes(CLIENT, f"{DB}:5353/udp")


def test_a_service_is_its_pods(world: World) -> None:
    """What is asked for is the pod's port, not the Service's."""
    cluster = Cluster()
    cluster.service("db", "10.96.0.20", "http 80/tcp")
    cluster.endpoints("db", "http 8080/tcp", DB)
    world.lab.proxy("node-1", cluster.plan).sync()
    assert world.asks(WEB, "10.96.0.20:80")
    egress = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"]}
    world.policy("none", egress)
    world.drops(WEB, "10.96.0.20:80")
    world.policy("db", egress | {"egress": [{"to": [DB_ONLY], "ports": [{"port": 8080}]}]})
    world.passes(WEB, "10.96.0.20:80")
    world.policy("cut", DB_ONLY)
    world.drops(WEB, "10.96.0.20:80")


def test_an_address_that_no_known_pod_has_is_cut_off(world: World) -> None:
    """A pod that starts gets no packet out before the agent has heard of it, with its policies."""
    new = "10.244.1.77"
    world.lab.serve(new, 8080)
    assert not world.asks(new, f"{FAR}:8080", seconds=SILENT)
    assert not world.asks(FAR, f"{new}:8080", seconds=SILENT)
    world.pod("new", new)
    world.passes(new, f"{FAR}:8080")
    world.policy("mute", {"podSelector": {"matchLabels": {"app": "mute"}}, "policyTypes": ["Egress"]})
    world.pod("barrier", "10.244.1.79")
    world.passes("10.244.1.79", f"{FAR}:8080")
    answers = []
    for number in range(100, 110):
        address = f"10.244.1.{number}"
        answers.append(world.lab.ask(address, f"{FAR}:5353/udp", seconds=0.02))
        world.pod(f"mute-{number}", address, app="mute")
        answers.append(world.lab.ask(address, f"{FAR}:5353/udp", seconds=0.02))
    assert set(answers) == {"silence"}


def test_a_connection_that_stands_goes_on(world: World) -> None:
    """Policies speak of new connections; those that were allowed end by themselves."""
    server = world.lab.machine(DB).inside(lambda: socket.create_server((DB, 9000)))
    client = world.lab.machine(FAR).inside(lambda: socket.create_connection((DB, 9000), timeout=ANSWER_SECONDS))
    with server, client:
        taken, _ = server.accept()
        with taken:
            world.policy("deny", DENY)
            world.drops(FAR, f"{DB}:8080")
            client.sendall(b"still here")
            taken.settimeout(30)
            assert taken.recv(100) == b"still here"


def test_a_table_that_was_deleted_comes_back(world: World) -> None:
    world.policy("deny", DENY)
    world.drops(FAR, f"{DB}:8080")
    nft = program_in(world.lab.nodes["node-1"].fd)
    subprocess.run([*nft, "delete", "table", "ip", "clusterip-policy"], check=True)
    world.drops(FAR, f"{DB}:8080")
    listed = subprocess.run([*nft, "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    assert "table ip clusterip-policy" in listed


def test_rules_hold_while_the_api_is_away_and_after_the_agent(world: World) -> None:
    world.pod("other", CLIENT, namespace="b")
    world.passes(CLIENT, f"{DB}:8080")
    world.policy("frontend", FRONTEND)
    world.drops(CLIENT, f"{DB}:8080")
    world.call(world.end_server())
    world.passes(FAR, f"{DB}:8080")
    world.drops(CLIENT, f"{DB}:8080")
    world.call(world.stop_agent())
    world.drops(CLIENT, f"{DB}:8080")
    assert world.call(clean_up()) == ["ip clusterip-policy", "ip6 clusterip-policy"]
    world.passes(CLIENT, f"{DB}:8080")


def test_health_and_numbers(world: World) -> None:
    """Of the node's own loopback: nobody else sees them."""
    numbers = world.agent.numbers
    assert world.agent.ready.is_set()
    world.policy("deny", DENY)
    world.drops(FAR, f"{DB}:8080")
    nft = program_in(world.lab.nodes["node-1"].fd)
    subprocess.run([*nft, "delete", "table", "ip", "clusterip-policy"], check=True)
    world.until(lambda: numbers.value(metrics.REPAIRS, family="ip") > 0)
    text = numbers.render()
    for line in (
        "clusterip_policy_policies 1",
        "clusterip_policy_pod_addresses 5",
        "clusterip_policy_policies_unreadable 0",
    ):
        assert line in text
    assert numbers.value(metrics.COMMITS, family="ip6") > 0
    assert numbers.value(metrics.FAILURES, family="ip") == 0


def test_an_agent_that_starts_again_changes_nothing_that_is_right(world: World) -> None:
    world.policy("deny", DENY)
    world.drops(FAR, f"{DB}:8080")
    world.call(world.stop_agent())

    async def again() -> int:
        world.start_agent()
        async with asyncio.timeout(WAIT_SECONDS):
            while not world.agent.runners:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.01)
            await asyncio.gather(*(each.programmed.wait() for each in world.agent.runners))
        return sum([await runner.sync() for runner in world.agent.runners])

    assert world.call(again()) == 0
    world.drops(FAR, f"{DB}:8080")


def test_a_policy_that_cannot_be_read_isolates_and_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from an API that checks less than ours: the tree is spoilt on its way."""

    def spoilt(tree: Tree) -> Policy:
        return read_policy(tree | {"spec": tree["spec"] | {"ingress": [{"from": [{}]}]}})

    async def broken() -> None:
        await world.stop_agent()
        monkeypatch.setattr("clusterip.policy.process.read_policy", spoilt)
        world.start_agent()

    world.call(broken())
    world.policy("odd", FRONTEND)
    world.drops(FAR, f"{DB}:8080")

    async def told() -> list[Tree]:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                answer = await world.client.list(EVENTS, "default")
                if found := [each for each in answer["items"] if each["reason"] == FAULT]:
                    return found
                await asyncio.sleep(0.02)

    (event,) = world.call(told())
    assert event["involvedObject"]["name"] == "odd"


def test_a_pod_cannot_take_the_address_of_another(world: World) -> None:
    """Whoever it claims to be, of its own node, of another, or of outside: nothing of it arrives."""
    world.pod("liar", CLIENT)
    world.passes(CLIENT, f"{FAR}:8080")
    with world.lab.machine(FAR).inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as target:
        target.bind((FAR, 7000))
        target.settimeout(WAIT_SECONDS)
        for claimed in (WEB, "10.244.1.200", "10.244.2.200", "198.51.100.7", CLIENT):
            world.lab.machine(CLIENT).inside(lambda claimed=claimed: spoof(claimed, FAR, 7000))  # type: ignore[misc]
        assert target.recvfrom(100)[1][0] == CLIENT  # the honest one came last


def spoof(source: str, destination: str, port: int) -> None:
    """One datagram in another's name."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        body = struct.pack(">HHHH", 4000, port, 12, 0) + b"lies"
        total = 20 + len(body)
        ends = socket.inet_aton(source) + socket.inet_aton(destination)
        raw.sendto(
            struct.pack(">BBHHHBBH", 0x45, 0, total, 7, 0, 64, socket.IPPROTO_UDP, 0) + ends + body, (destination, 0)
        )
