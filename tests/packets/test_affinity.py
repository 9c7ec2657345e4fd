"""Session affinity by the clock, with real packets, in every mode: it lasts while there are new connections, and ends.

A client is one of many addresses of one machine: that all of them are sent where they were before is no chance.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from clusterip.kernel.link import Netlink
from packets.lab import LAN_MACHINE, Lab
from packets.machines import ANSWER_SECONDS, Where, ask
from packets.nodeproxy import modes_here

pytestmark = pytest.mark.root

HERE, ALSO = "10.244.1.5", "10.244.1.6"
NODE_PORT = "192.168.4.101:30080/tcp"
TIMEOUT_SECONDS = 2
# by how much one kernel or another rounds, and then some
CLOSE_SECONDS = 1.2
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


def choices(lab: Lab) -> list[str]:
    """Where each client's new connection goes."""
    where = Where.of(NODE_PORT)

    def run() -> list[str]:
        return [ask(client, where, seconds=ANSWER_SECONDS, from_port=0).split(":")[0] for client in CLIENTS]

    return lab.machine(LAN_MACHINE).inside(run)


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

    first = choices(lab)
    assert set(first) == {HERE, ALSO}
    for _ in range(2):  # longer together than the timeout: each new connection begins it anew
        time.sleep(CLOSE_SECONDS)
        assert choices(lab) == first
    deadline = time.monotonic() + 3 * TIMEOUT_SECONDS
    time.sleep(TIMEOUT_SECONDS + 0.3)
    while (later := choices(lab)) == first and time.monotonic() < deadline:
        time.sleep(TIMEOUT_SECONDS + 0.3)
    assert later != first
    assert set(later) == {HERE, ALSO}
