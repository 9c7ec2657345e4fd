"""A pod's worker that failed begins anew, and follows its containers again."""

from __future__ import annotations

import asyncio
import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from apiserver.serving import serving
from clusterip.client.events import EventRecorder
from clusterip.client.informer import Informer
from clusterip.client.names import PODS, SERVICE_ACCOUNTS, SERVICES
from clusterip.client.rest import Client
from clusterip.clock import SystemClock, rfc3339
from clusterip.kernel import process
from clusterip.node.environment import parse_service
from clusterip.node.images import ImageStore
from clusterip.node.model import parse_pod
from clusterip.node.prepare import Preparation
from clusterip.node.record import AttemptRecord, PodRecord
from clusterip.node.settings import Settings, Tools
from clusterip.node.sources import Sources
from clusterip.node.worker import PodWorker

CLOCK = SystemClock()
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {
        "nodeName": "n",
        "hostNetwork": True,
        "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "clusterip"}],
    },
}


class House:
    """A node with room for everybody."""

    def take_address(self, uid: str) -> str:
        raise AssertionError("it has the node's")

    def judge(self, pod: object) -> None: ...

    def freed(self) -> None: ...


@pytest.fixture
def stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox is there already."""

    async def fetch(self: Preparation, pod: object) -> None: ...

    monkeypatch.setattr(Preparation, "sandbox_stands", lambda self, pod: True)
    monkeypatch.setattr(Preparation, "make_sandbox", lambda self, pod, record: record)
    monkeypatch.setattr(Preparation, "fetch", fetch)
    monkeypatch.setattr(Preparation, "write", lambda self, pod, address: None)


def tools_of(client: Client, path: Path, group: asyncio.TaskGroup) -> Tools:
    return Tools(
        settings=Settings(
            name="n", node_ip="192.0.2.1", pod_cidr=IPv4Network("10.244.1.0/24"), root=path, log_root=path
        ),
        clock=CLOCK,
        client=client,
        events=EventRecorder(client, "kubelet"),
        sources=Sources(client, group),
        services=Informer(client, SERVICES, parse_service),
        images=ImageStore(path),
        runtime=None,
        cgroups=None,
        new_id=lambda: "id",
    )


def record_of(tree: dict[str, Any], first: process.Process) -> PodRecord:
    """As an agent left it: the container runs."""
    running = AttemptRecord(
        attempt=0, id="1", forked=True, pid=first.pid, pid_start=first.started, started_at=rfc3339(CLOCK.now())
    )
    meta = tree["metadata"]
    return PodRecord(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        tree=tree,
        started_at=rfc3339(CLOCK.now()),
        sandbox=True,
        attempts={"c": [running]},
    )


@pytest.mark.usefixtures("stands")
def test_its_containers_are_followed_after_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(container: subprocess.Popen[bytes]) -> None:
        async with serving() as api, api.client() as client, asyncio.timeout(60), asyncio.TaskGroup() as group:
            await client.create(SERVICE_ACCOUNTS, ACCOUNT)
            tree = await client.create(PODS, POD)
            first = process.of_pid(container.pid)
            assert first is not None
            worker = PodWorker(tools_of(client, tmp_path, group), parse_pod(tree), record_of(tree, first), House())
            with monkeypatch.context() as patched:
                patched.setattr("clusterip.node.publish.patch_of", lambda *_: 1 / 0)
                with pytest.raises(ExceptionGroup):
                    await worker.run()
            running = asyncio.ensure_future(worker.run())
            await until(lambda: worker.seen().prepared)
            container.kill()
            container.wait()
            await until(lambda: worker.seen().containers["c"].state == "exited")
            running.cancel()

    container = subprocess.Popen(["sleep", "1000"])
    try:
        asyncio.run(body(container))
    finally:
        container.kill()
        container.wait()


async def until(holds: Any) -> None:
    while not holds():  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.01)
