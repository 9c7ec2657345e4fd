"""The node's HTTP API before any stream begins: who is let in, what is refused and how."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusterip.clock import ManualClock
from clusterip.node.lookup import ContainerRef, NoSuchContainer, PodRef
from clusterip.node.server import NodeServer
from clusterip.transport.answers import Response
from clusterip.transport.request import Peer

API_SERVER = Peer("10.0.0.1", "kube-apiserver-kubelet-client")
REF = ContainerRef(
    namespace="default", pod="web", pod_uid="u", name="c", id="", attempt=0, running=False, pid=None, tty=False,
    stdin=False, stdin_once=False, log_path=Path("/nonexistent/0.log"), previous_log_path=None, attach_socket=None,
    control_fifo=None, runtime=(), bundle=None,
)  # fmt: skip
POD = {
    "metadata": {"namespace": "default", "name": "web"},
    "status": {
        "phase": "Running",
        "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff"}}}],
    },
}
UPGRADE = {"Upgrade": "websocket", "Sec-WebSocket-Key": "eA==", "Sec-WebSocket-Protocol": "v9.channel.k8s.io"}
SPDY = {"Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v9.channel.k8s.io"}


class OnePod:
    def __init__(self, ref: ContainerRef = REF) -> None:
        self._ref = ref

    def pod(self, namespace: str, name: str, uid: str | None = None) -> PodRef:
        raise NoSuchContainer(f'pod "{name}" not found')

    def container(self, namespace: str, pod: str, name: str | None = None) -> ContainerRef:
        if pod != "web":
            raise NoSuchContainer(f'pods "{pod}" not found')
        return self._ref

    async def ended(self, ref: ContainerRef) -> int | None:
        return 0

    def pods(self) -> list[dict[str, Any]]:
        return [POD]


class Asked:
    """A request as the server reads it."""

    def __init__(self, target: str, peer: Peer, headers: dict[str, str]) -> None:
        self.target, self.peer, self.headers = target, peer, headers

    def segments(self) -> list[str]:
        return [part for part in self.target.partition("?")[0].split("/") if part]

    @property
    def query(self) -> dict[str, str]:
        return dict(pair.split("=") for pair in self.target.partition("?")[2].split("&") if pair)


def ask(
    target: str, peer: Peer = API_SERVER, headers: dict[str, str] | None = None, ref: ContainerRef = REF
) -> tuple[int, str]:
    answer = asyncio.run(NodeServer(OnePod(ref), ManualClock()).handle(Asked(target, peer, headers or {})))  # type: ignore[arg-type]
    assert isinstance(answer, Response)
    text = answer.body.decode()
    return answer.status, json.loads(text)["message"] if text.startswith('{"kind": "Status"') else text


def test_only_the_api_server_is_let_in() -> None:
    assert ask("/healthz", Peer()) == (200, "ok")
    assert ask("/pods", Peer()) == (401, "Unauthorized")
    assert ask("/pods", Peer("", "system:node:node-1", ("system:nodes",)))[0] == 403
    assert ask("/pods", Peer("", "kubernetes-admin", ("system:masters",)))[0] == 200


def test_pods_and_metrics() -> None:
    assert json.loads(ask("/pods")[1])["items"] == [POD]
    assert "kubelet_running_pods 1" in ask("/metrics")[1]
    assert ask("/nothing") == (404, "404 page not found\n")


@pytest.mark.parametrize(
    ("target", "headers", "code", "words"),
    [
        (
            "/containerLogs/default/web/c",
            {},
            400,
            'container "c" in pod "web" is waiting to start: trying and failing to pull image',
        ),
        ("/containerLogs/default/none/c", {}, 404, 'pods "none" not found'),
        ("/containerLogs/default/web/c?tailLines=-1", {}, 400, "tailLines: Invalid value: -1"),
        ("/containerLogs/default", {}, 400, "a log is at"),
        ("/exec/default/web/c?command=ls&stdout=true", UPGRADE, 500, 'container not found ("c")'),
        ("/exec/default/web/c?stdout=true", UPGRADE, 400, "you must specify at least one command for the container"),
        ("/exec/default/web/c?command=ls", UPGRADE, 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("/exec/default/none/c?command=ls&stdout=1", UPGRADE, 404, 'pods "none" not found'),
        ("/attach/default/web/c?stdout=true", {}, 400, "Upgrade request required"),
        ("/attach/default/web/c?stdout=true", UPGRADE, 403, "none of [v9.channel.k8s.io] is spoken here"),
        ("/attach/default/web/c?stdout=true", SPDY, 403, "none of [v9.channel.k8s.io] is spoken here"),
    ],
)
def test_what_is_refused(target: str, headers: dict[str, str], code: int, words: str) -> None:
    status, text = ask(target, headers=headers)
    assert status == code
    assert words in text


@pytest.mark.parametrize(("once", "code"), [(False, 500), (True, 403)])
def test_nobody_joins_a_container_that_is_over_unless_its_output_waits(once: bool, code: int) -> None:
    over = replace(REF, id="x", stdin_once=once)
    assert ask("/attach/default/web/c?stdout=true", headers=UPGRADE, ref=over)[0] == code
