"""A ConfigurationState: what a controller or a speaker thinks of the configuration, for everybody to see.

Stage: commit.  In: verdicts.  Out: one object, written behind.
Rules: an API that lacks the resource, or forbids it, is left alone; the newest verdict is what is written.
Truth: MetalLB 0.16, metallb.io/v1beta1 ConfigurationState.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import NoReturn

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Backoff
from clusterip.client.names import CONFIGURATION_STATES
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import Clock, rfc3339

logger = logging.getLogger(__name__)

CONTROLLER, SPEAKER = "poolReconcilerValid", "configReconcilerValid"
KIND = "metallb.io/component-type"
NODE = "metallb.io/node-name"


def state_tree(name: str, namespace: str, labels: Mapping[str, str], owner: Tree | None) -> Tree:
    meta: Tree = {"name": name, "namespace": namespace, "labels": dict(labels)}
    if owner is not None:
        meta["ownerReferences"] = [owner]
    return {"apiVersion": CONFIGURATION_STATES.api_version, "kind": CONFIGURATION_STATES.kind, "metadata": meta}


def status_tree(condition: str, error: str, moment: str) -> Tree:
    """The status for one verdict."""
    verdict = {
        "type": condition,
        "status": "False" if error else "True",
        "reason": "ConfigurationError" if error else "Reconciled",
        "message": error,
        "lastTransitionTime": moment,
    }
    return {"result": "Invalid" if error else "Valid", "errorSummary": error, "conditions": [verdict]}


class StateReporter:
    """Writes one ConfigurationState."""

    def __init__(self, client: Client, tree: Tree, condition: str, clock: Clock) -> None:
        self._client, self._tree, self._condition, self._clock = client, tree, condition, clock
        self._error: str | None = None
        self._arrival = asyncio.Event()

    def judged(self, error: str) -> None:
        if error != self._error:
            self._error = error
            self._arrival.set()

    async def run(self) -> NoReturn:
        backoff = Backoff(first=0.1, longest=30.0)
        while True:
            await self._arrival.wait()
            self._arrival.clear()
            error = self._error
            try:
                await self._write(error or "")
            except (ApiError, Unreachable) as failure:
                if isinstance(failure, ApiError) and failure.code in (403, 404):
                    logger.debug("No configuration states here", extra={"kv": {"err": failure}})
                    continue
                await asyncio.sleep(backoff.delay())
                self._arrival.set()
            else:
                backoff.reset()

    async def _write(self, error: str) -> None:
        meta, status = self._tree["metadata"], status_tree(self._condition, error, rfc3339(self._clock.now()))
        patch: Tree = {"status": status}
        where = CONFIGURATION_STATES, meta["name"], meta["namespace"], patch
        try:
            await self._client.patch(*where, subresource="status")
        except ApiError as refused:
            if refused.code != 404:
                raise
            await self._client.create(CONFIGURATION_STATES, self._tree)
            await self._client.patch(*where, subresource="status")
