"""Two processes, one Lease: the second begins when the first is gone, and who loses the Lease stops."""

from __future__ import annotations

import asyncio

import pytest

from apiserver.serving import serving
from clusterip.client.names import LEASES
from clusterip.clock import SystemClock
from clusterip.controllers.leading import LEASE, NAMESPACE, lead
from clusterip.failure import Failure

RETRY = 0.02


class Work:
    def __init__(self):
        self.began, self.ended = asyncio.Event(), False

    async def __call__(self):
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


def test_one_leads_and_who_loses_stops():
    async def scenario():
        async with serving() as api, api.client() as client, asyncio.timeout(120):
            first, second = Work(), Work()
            one = asyncio.ensure_future(lead(client, "one", first, SystemClock(), retry_seconds=RETRY))
            await first.began.wait()
            two = asyncio.ensure_future(lead(client, "two", second, SystemClock(), retry_seconds=RETRY))
            lease = await client.get(LEASES, LEASE, NAMESPACE)
            assert lease["spec"]["holderIdentity"] == "one"
            assert not second.began.is_set()
            await client.patch(LEASES, LEASE, NAMESPACE, {"spec": {"holderIdentity": "two"}})
            with pytest.raises(Failure, match="is lost"):
                await one
            assert first.ended
            await second.began.wait()
            two.cancel()
            await asyncio.gather(two, return_exceptions=True)
            assert second.ended

    asyncio.run(scenario())
