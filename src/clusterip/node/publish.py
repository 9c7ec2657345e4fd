"""Write a pod's status, and at the end delete the pod.

Stage: commit.  In: status trees.  Out: patches of pods/status; a DELETE with grace 0 of this very pod.
Rules: the newest status wins, older ones that were not sent are dropped; nobody waits but `flush`; what others write
over ours (a node that was silent has its pods marked as not ready) is said again.
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
from clusterip.node.status import is_said, patch_of

logger = logging.getLogger(__name__)


class Publisher:
    """The status of one pod on its way to the API."""

    def __init__(self, client: Client, written: Tree) -> None:
        self._client = client
        self.status = written  # what was said last
        self._revision = 0  # of the last write; older states of the pod do not show it yet
        self._waiting: tuple[Pod, Tree] | None = None
        self._arrival = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def hear(self, pod: Pod) -> None:
        """The API's state of the pod: when another has written over what was said, that is what the API knows."""
        is_newer = _revision(pod.tree) >= self._revision
        if self._idle.is_set() and is_newer and not is_said(pod, self.status):
            self.status = pod.status

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
                made = await self._client.patch(
                    PODS, pod.name, pod.namespace, patch, type="strategic", subresource="status"
                )
                self._revision = _revision(made)
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


def _revision(tree: Tree) -> int:
    """The revisions of one resource can be compared (KEP-5504); one that is no number is never waited for."""
    text = str(tree["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
