"""Write a pod's status, and at the end delete the pod.

Stage: commit.  In: status trees.  Out: patches of pods/status; a DELETE with grace 0 of this very pod.
Rules: the newest status wins, older ones that were not sent are dropped; nobody waits but `flush`.
Truth: pkg/kubelet/status: patches carry the uid, so that they can never hit a later pod of the same name.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NoReturn

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Backoff
from clusterip.client.names import PODS
from clusterip.client.rest import Client, Unreachable
from clusterip.node.model import Pod
from clusterip.node.status import patch_of

logger = logging.getLogger(__name__)


class Publisher:
    """The status of one pod on its way to the API."""

    def __init__(self, client: Client, written: Tree) -> None:
        self._client = client
        self.status = written  # what was said last
        self._waiting: tuple[Pod, Tree] | None = None
        self._arrival = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def publish(self, pod: Pod, status: Tree) -> None:
        """Say it when it is new."""
        if status == self.status:
            return
        self.status = status
        self._waiting = (pod, status)
        self._idle.clear()
        self._arrival.set()

    async def flush(self) -> None:
        """Wait until all that was said is written (or refused for good)."""
        await self._idle.wait()

    async def run(self) -> NoReturn:
        while True:
            await self._arrival.wait()
            self._arrival.clear()
            while self._waiting is not None:
                (pod, status), self._waiting = self._waiting, None
                await self._write(pod, status)
            self._idle.set()

    async def _write(self, pod: Pod, status: Tree) -> None:
        backoff = Backoff(first=0.1, longest=5.0)
        while self._waiting is None:
            try:
                patch = patch_of(pod, status)
                await self._client.patch(PODS, pod.name, pod.namespace, patch, type="strategic", subresource="status")
                return
            except Unreachable:
                await asyncio.sleep(backoff.delay())
            except ApiError as error:
                if error.code in (404, 409):  # the pod is gone, or another one has its name
                    return
                logger.warning("The API refuses a status", extra={"kv": {"pod": pod.name, "err": error.message}})
                if error.code < 500 and error.code != 429:
                    return
                await asyncio.sleep(backoff.delay())


async def delete(client: Client, pod: Pod) -> None:
    """Let the API forget this very pod."""
    backoff = Backoff(first=0.1, longest=5.0)
    while True:
        try:
            await client.delete(PODS, pod.name, pod.namespace, grace_seconds=0, uid=pod.uid)
            return
        except Unreachable:
            await asyncio.sleep(backoff.delay())
        except ApiError as error:
            if error.code in (404, 409):
                return
            logger.warning("Cannot delete a pod", extra={"kv": {"pod": pod.name, "err": error.message}})
            await asyncio.sleep(backoff.delay())
