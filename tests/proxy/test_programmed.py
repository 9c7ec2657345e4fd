"""What is published of a node's kernel."""

from __future__ import annotations

import asyncio

from apiserver.serving import serving
from clusterip.api.programmed import parse_programmed
from clusterip.apiserver.core import Settings
from clusterip.client.names import LEASES
from clusterip.clock import ManualClock
from clusterip.proxy.model import Family
from clusterip.proxy.programmed import ProgrammedLease, Progress, node_owner, number

FOUR, SIX = Family.IPV4, Family.IPV6
SETTINGS = Settings(advertise=("192.168.4.100", 6443))


class Known:
    revision = "0"

    def __call__(self) -> str:
        return self.revision


def test_nothing_is_passed_before_every_family_was_programmed() -> None:
    known = Known()
    progress = Progress(known)
    known.revision = "10"
    assert progress.passed == 0
    for family in (FOUR, SIX):
        progress.expect(family)
    progress.programmed(FOUR, "10", more_waits=False)
    assert progress.passed == 0
    progress.programmed(SIX, "10", more_waits=False)
    assert progress.passed == 10


def test_what_waits_holds_it_back_and_what_brings_nothing_does_not() -> None:
    known = Known()
    progress = Progress(known)
    known.revision = "10"
    progress.programmed(FOUR, "10", more_waits=False)
    progress.programmed(SIX, "10", more_waits=False)
    known.revision = "12"
    assert progress.passed == 12, "a slice that is of no family's concern"
    progress.queued(FOUR)
    known.revision = "15"
    assert progress.passed == 10
    progress.programmed(FOUR, "13", more_waits=True)
    assert progress.passed == 13
    progress.programmed(FOUR, "15", more_waits=False)
    assert progress.passed == 15


def test_revisions_that_are_no_numbers_are_never_passed() -> None:
    assert (number("17"), number(""), number("a7")) == (17, 0, 0)


def test_the_lease() -> None:
    async def go() -> None:
        async with serving(settings=SETTINGS) as api, api.client() as client:
            known, clock = Known(), ManualClock()
            owner = node_owner("node-1", "some-uid")
            lease = ProgrammedLease(client, "node-1", known, clock, owner=lambda: owner)
            lease.expect(FOUR)
            running = asyncio.create_task(lease.run())
            known.revision = "7"
            lease.programmed(FOUR, "7")
            async with asyncio.timeout(30):
                while not (await client.list(LEASES, "kube-system"))["items"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                tree = await client.get(LEASES, "kube-proxy-node-1", "kube-system")
                assert tree["metadata"]["ownerReferences"][0]["name"] == "node-1"
                assert tree["spec"]["leaseDurationSeconds"] == 15
                known.revision = "9"
                lease.queued(FOUR)
                lease.seen()
                await asyncio.sleep(0.25)
                tree = await client.get(LEASES, "kube-proxy-node-1", "kube-system")
                assert parse_programmed(tree).passed == 7
                lease.programmed(FOUR, "9")
                while parse_programmed(tree).passed != 9:
                    await asyncio.sleep(0.01)
                    tree = await client.get(LEASES, "kube-proxy-node-1", "kube-system")
            running.cancel()

    asyncio.run(go())
