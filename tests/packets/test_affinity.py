"""Session affinity by the clock, with real packets, in every mode: it lasts while there are new connections, and ends.

A client is one of many addresses of one machine: that all of them are sent where they were before is no chance.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from clusterip.kernel.link import Netlink
from packets.lab import LAN_MACHINE, Lab
from packets.machines import ANSWER_SECONDS, Where, ask
from packets.nodeproxy import modes_here

pytestmark = pytest.mark.root

HERE, ALSO = "10.244.1.5", "10.244.1.6"
NODE_PORT = "192.168.4.101:30080/tcp"
TIMEOUT_SECONDS = 3
# longer together than the timeout: each new connection begins it anew
PAUSE_SECONDS = 1.8
# by how much one kernel or another rounds, and then some
ROUNDING_SECONDS = 0.4
PATIENCE_SECONDS = 100.0
CLIENTS = [
    f"192.168.4.{number}" for number in range(130, 145)
]  # an odd number: who goes in turn goes elsewhere the next time


@pytest.fixture(params=modes_here())
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(request.param, nodes=["node-1"]) as lab:
        with Netlink(lab.machine(LAN_MACHINE).fd) as netlink:
            for client in CLIENTS:
                netlink.add_address("lan0", f"{client}/24")
        yield lab


@dataclass(frozen=True)
class Choice:
    """Where a client's new connection went, and between which times."""

    endpoint: str
    began: float
    ended: float

    def lasts_to(self, later: Choice) -> bool:
        """Whether the affinity cannot have ended in between."""
        return later.ended - self.began < TIMEOUT_SECONDS - ROUNDING_SECONDS


def choices(lab: Lab) -> list[Choice]:
    """Where each client's new connection goes."""
    where = Where.of(NODE_PORT)

    def choose(client: str) -> Choice:
        began = time.monotonic()
        answer = ask(client, where, seconds=ANSWER_SECONDS, from_port=0)
        return Choice(answer.split(":")[0], began, time.monotonic())

    return lab.machine(LAN_MACHINE).inside(lambda: [choose(client) for client in CLIENTS])


def endpoints(chosen: Iterable[Choice]) -> list[str]:
    return [choice.endpoint for choice in chosen]


def test_it_lasts_while_connections_come_and_then_ends(lab: Lab) -> None:
    cluster = lab.cluster()
    affinity = {"clientIP": {"timeoutSeconds": TIMEOUT_SECONDS}}
    cluster.service(
        "web", "10.96.0.20", "http 80/tcp 30080", sessionAffinity="ClientIP", sessionAffinityConfig=affinity
    )
    cluster.endpoints("web", "http 8080/tcp", HERE, ALSO)
    for endpoint in (HERE, ALSO):
        lab.serve(endpoint, 8080)
    lab.proxy("node-1", cluster.plan).sync()

    assert set(endpoints(choices(lab))) == {HERE, ALSO}
    assert lasting(lab) >= len(CLIENTS)
    first = choices(lab)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while endpoints(later := choices_after(lab, TIMEOUT_SECONDS + 0.3)) == endpoints(first):
        assert time.monotonic() < deadline
    assert set(endpoints(later)) == {HERE, ALSO}


def choices_after(lab: Lab, seconds: float) -> list[Choice]:
    time.sleep(seconds)
    return choices(lab)


def lasting(lab: Lab) -> int:
    """How many clients stayed for longer than the timeout; a busy machine that paused for so long shows nothing."""
    stayed, deadline = 0, time.monotonic() + PATIENCE_SECONDS
    while stayed < len(CLIENTS) and time.monotonic() < deadline:
        rounds = [choices(lab), choices_after(lab, PAUSE_SECONDS), choices_after(lab, PAUSE_SECONDS)]
        for first, second, third in zip(*rounds, strict=True):
            if first.lasts_to(second) and second.lasts_to(third):
                assert first.endpoint == second.endpoint == third.endpoint
                stayed += 1
    return stayed
