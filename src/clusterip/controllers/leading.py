"""One of several processes works, the others wait for its end.

Stage: shell.  In: an identity, the work.  Out: a Lease; the work, for as long as the Lease is held.
Rules: work begins only with the Lease and ends at once when it is lost; it is upstream's own Lease, so that this and
kube-controller-manager never work on one cluster together.
Truth: client-go tools/leaderelection, kube-controller-manager's --leader-elect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from clusterip.api.errors import ApiError
from clusterip.client.lease import Election
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import Clock
from clusterip.failure import Failure

NAMESPACE, LEASE = "kube-system", "kube-controller-manager"
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)


async def lead(
    client: Client,
    identity: str,
    work: Callable[[], Awaitable[None]],
    clock: Clock,
    *,
    retry_seconds: float = RETRY_SECONDS,
) -> None:
    """Wait for the Lease, then work; Failure when it is lost."""
    election = Election(client, NAMESPACE, LEASE, identity, retry_seconds=retry_seconds, clock=clock)
    logger.info("Waiting to lead", extra={"kv": {"lease": f"{NAMESPACE}/{LEASE}", "identity": identity}})
    while not await _attempt(election):  # noqa: ASYNC110 - another's Lease runs out by time
        await asyncio.sleep(retry_seconds)
    logger.info("Successfully acquired lease", extra={"kv": {"lease": f"{NAMESPACE}/{LEASE}", "identity": identity}})
    working, keeping = asyncio.ensure_future(work()), asyncio.ensure_future(election.keep())
    try:
        await asyncio.wait((working, keeping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return
        raise Failure(f"the Lease {NAMESPACE}/{LEASE} is lost to another process; start again to wait for it")
    finally:
        for task in (working, keeping):
            task.cancel()
        await asyncio.gather(working, keeping, return_exceptions=True)


async def _attempt(election: Election) -> bool:
    try:
        return await election.attempt()
    except (ApiError, Unreachable) as error:
        logger.debug("Cannot ask for the lease", extra={"kv": {"err": error}})
        return False
