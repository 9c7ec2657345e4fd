"""Which pods a node takes beside those that it has."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.node.admission import PORTS_TAKEN, Refusal, refusal, shortage
from clusterip.node.model import Pod
from node.pods import pod

ROOM = {"cpu": "1", "memory": "100Mi", "pods": "3"}


def wanting(cpu: str = "100m", memory: str = "1Mi", **spec: Any) -> Pod:
    return pod({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}, **spec)


def on_port(number: int, address: str = "", protocol: str = "TCP") -> Pod:
    port = {"containerPort": 80, "hostPort": number, "protocol": protocol, **({"hostIP": address} if address else {})}
    return pod({"name": "c", "ports": [port]})


def test_room_for_all() -> None:
    assert refusal(wanting("400m"), [wanting("600m"), wanting("0")], ROOM) is None
    assert refusal(wanting(), [], {}) is None


def test_too_little_is_said_as_the_kubelet_says_it() -> None:
    assert refusal(wanting("500m"), [wanting("600m")], ROOM) == Refusal(
        "OutOfcpu", "Node didn't have enough resource: cpu, requested: 500, used: 600, capacity: 1000"
    )
    assert refusal(wanting("1m", "60Mi"), [wanting("1m", "41Mi")], ROOM) == Refusal(
        "OutOfmemory",
        f"Node didn't have enough resource: memory, requested: {60 << 20}, used: {41 << 20}, capacity: {100 << 20}",
    )
    assert refusal(wanting("0"), [wanting("0")] * 3, ROOM) == Refusal(
        "OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"
    )


def test_a_pod_of_the_system_needs_no_room() -> None:
    assert refusal(wanting("5", priority=2_000_000_000), [], ROOM) is None
    assert shortage(wanting("5", priority=2_000_000_000), [], ROOM) is not None


@pytest.mark.parametrize(
    ("one", "other", "taken"),
    [
        (on_port(80), on_port(80), True),
        (on_port(80), on_port(81), False),
        (on_port(80), on_port(80, protocol="UDP"), False),
        (on_port(80, "10.0.0.1"), on_port(80, "10.0.0.2"), False),
        (on_port(80, "10.0.0.1"), on_port(80, "0.0.0.0"), True),
    ],
)
def test_ports_of_the_node(one: Pod, other: Pod, taken: bool) -> None:
    for first, second in ((one, other), (other, one)):
        assert refusal(first, [second], ROOM) == (Refusal("NodePorts", PORTS_TAKEN) if taken else None)
