"""Waiting until no proxy sends new connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apiserver.serving import serving
from clusterip.api.programmed import ANNOTATION, LABELS, ProgrammedNode
from clusterip.apiserver.core import Settings
from clusterip.client.names import ENDPOINT_SLICES, LEASES
from clusterip.client.rest import Client
from clusterip.clock import SystemClock, rfc3339_micro
from clusterip.node.strictdrain import THE_API, StrictDrain, laggards, newest, takes_new

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(advertise=("192.168.4.100", 6443))
POD = "pod-uid"


def slice_of(version: str = "", **conditions: bool) -> dict[str, Any]:
    endpoint = {
        "addresses": ["10.244.1.5"],
        "conditions": conditions,
        "targetRef": {"kind": "Pod", "name": "p", "uid": POD},
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "default"} | ({"resourceVersion": version} if version else {}),
        "addressType": "IPv4",
        "endpoints": [endpoint],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def test_whether_new_connections_come() -> None:
    assert takes_new([slice_of(ready=True)], POD)
    assert takes_new([slice_of()], POD), "unknown is ready"
    assert not takes_new([slice_of(ready=False)], POD)
    assert not takes_new([slice_of(ready=True, terminating=True)], POD), "published although not ready"
    assert not takes_new([slice_of(ready=True)], "another")
    assert not takes_new([], POD)


def test_the_revision_to_pass() -> None:
    assert newest([slice_of("7"), slice_of("12"), slice_of("9")]) == 12
    assert newest([]) == 0


def test_who_is_late() -> None:
    later = NOW + timedelta(seconds=5)
    nodes = (
        ProgrammedNode("passed", 12, later),
        ProgrammedNode("late", 11, later),
        ProgrammedNode("dead", 3, NOW),
        ProgrammedNode("nameless", 0, None),
    )
    assert laggards(nodes, 12, NOW) == ("late",)


@dataclass
class Stage:
    client: Client
    drain: StrictDrain

    async def late(self, namespace: str, uid: str) -> tuple[str, ...]:
        """Whom a short wait names; it is as long as a busy API needs to tell anything at all."""
        seconds = 0.2
        while (named := await self.drain.wait(namespace, uid, seconds)) == (THE_API,):
            seconds *= 2
        return named

    async def tell(self, node: str, revision: str, seconds: int = 3600) -> None:
        """A proxy's Lease."""
        name = f"kube-proxy-{node}"
        spec = {
            "holderIdentity": node,
            "leaseDurationSeconds": seconds,
            "renewTime": rfc3339_micro(SystemClock().now()),
        }
        meta: dict[str, Any] = {"name": name, "namespace": "kube-system", "labels": dict(LABELS)}
        tree = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": meta | {"annotations": {ANNOTATION: revision}},
            "spec": spec,
        }
        if await self._knows(name):
            await self.client.patch(LEASES, name, "kube-system", {"metadata": tree["metadata"], "spec": spec})
        else:
            await self.client.create(LEASES, tree)

    async def _knows(self, name: str) -> bool:
        return name in {tree["metadata"]["name"] for tree in (await self.client.list(LEASES, "kube-system"))["items"]}

    async def leave(self) -> str:
        """The endpoint is terminating from now on; the revision of that."""
        patch = {"endpoints": slice_of(ready=False, serving=True, terminating=True)["endpoints"]}
        tree = await self.client.patch(ENDPOINT_SLICES, "web-1", "default", patch)
        revision: str = tree["metadata"]["resourceVersion"]
        return revision


def playing(act: Callable[[Stage], Awaitable[None]]) -> None:
    async def go() -> None:
        async with serving(settings=SETTINGS) as api, api.client() as client, asyncio.TaskGroup() as group:
            drain = StrictDrain(client, group, SystemClock())
            await act(Stage(client, drain))
            assert drain._followed == {}, "nobody waits, nothing is followed"
            drain.stop()

    asyncio.run(go())


def test_it_waits_for_the_slice_and_then_for_every_proxy() -> None:
    async def act(stage: Stage) -> None:
        created = await stage.client.create(ENDPOINT_SLICES, slice_of(ready=True, serving=True), "default")
        before = created["metadata"]["resourceVersion"]
        for node in ("node-1", "node-2"):
            await stage.tell(node, before)
        waiting = asyncio.create_task(stage.drain.wait("default", POD, 60))
        again = asyncio.create_task(stage.drain.wait("default", POD, 60))
        revision = await stage.leave()
        await stage.tell("node-1", revision)
        await asyncio.sleep(0.1)
        assert not waiting.done(), "node-2 has not said so"
        await stage.tell("node-2", str(int(revision) + 5))
        async with asyncio.timeout(30):
            assert (await waiting, await again) == ((), ())

    playing(act)


def test_a_proxy_that_died_is_not_waited_for() -> None:
    async def act(stage: Stage) -> None:
        await stage.client.create(ENDPOINT_SLICES, slice_of(ready=True), "default")
        await stage.tell("node-1", "1", seconds=1)
        revision = await stage.leave()
        await stage.tell("node-2", revision)
        async with asyncio.timeout(30):
            assert await stage.drain.wait("default", POD, 60) == ()

    playing(act)


def test_who_is_late_is_named_when_the_time_is_over() -> None:
    async def act(stage: Stage) -> None:
        await stage.client.create(ENDPOINT_SLICES, slice_of(ready=True), "default")
        assert await stage.late("default", POD) == ("the EndpointSlices",)
        await stage.leave()
        await stage.tell("node-1", "1")
        assert await stage.late("default", POD) == ("node-1",)
        assert await stage.late("default", "no endpoint") == ("node-1",)
        assert await stage.late("elsewhere", POD) == ()

    playing(act)
