"""What the kernel of this node has, published: a Lease tells up to which EndpointSlice revision all is programmed.

Stage: status.  In: what was queued and programmed.  Out: Lease kube-system/kube-proxy-NODE.
Rules: `Progress` is pure; what is published is true when it is written: a revision is passed when each family has
programmed it, or has had nothing to program since.  A lone change is published at once, many at most some times a
second; the Lease is renewed while the proxy lives, and is left as it is when the proxy ends: who waits for it knows by
its age whether the proxy is dead.  The Lease belongs to the Node and goes with it.
Truth: coordination.k8s.io/v1; ours alone, nothing like it upstream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.api.programmed import ANNOTATION, LABELS, LEASE_SECONDS, NAMESPACE, lease_name
from clusterip.client.backoff import Backoff
from clusterip.client.names import LEASES
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import Clock, rfc3339_micro
from clusterip.proxy.model import Family

logger = logging.getLogger(__name__)

RENEW_SECONDS = 5.0
LEAST_SECONDS = 0.2  # between two writes


@dataclass(slots=True)
class Progress:
    """How far each family is. `latest`: the revision up to which the objects are known."""

    latest: Callable[[], str]
    _planned: dict[Family, int] = field(default_factory=dict)
    _waiting: dict[Family, bool] = field(default_factory=dict)

    def expect(self, family: Family) -> None:
        """Nothing is passed before this family has programmed something."""
        self._planned.setdefault(family, 0)
        self._waiting[family] = True

    def queued(self, family: Family) -> None:
        """Something came in that the kernel does not have."""
        self._waiting[family] = True

    def programmed(self, family: Family, revision: str, *, more_waits: bool) -> None:
        """The kernel has what was known at that revision."""
        self._planned[family] = max(number(revision), self._planned.get(family, 0))
        self._waiting[family] = more_waits

    @property
    def passed(self) -> int:
        """The highest revision up to which all is in the kernel; 0 before the first sync."""
        behind = [self._planned.get(family, 0) for family, waiting in self._waiting.items() if waiting]
        return min((*behind, number(self.latest()))) if self._waiting else 0


class ProgrammedLease:
    """Publishes progress; `run` writes. The other methods may be called at any time from the loop."""

    def __init__(
        self,
        client: Client,
        node_name: str,
        latest: Callable[[], str],
        clock: Clock,
        *,
        owner: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> None:
        self._client, self._node_name, self._clock, self._owner = client, node_name, clock, owner
        self.progress = Progress(latest)
        self._news = asyncio.Event()
        self._written = 0

    def expect(self, family: Family) -> None:
        self.progress.expect(family)

    def queued(self, family: Family) -> None:
        self.progress.queued(family)

    def programmed(self, family: Family, revision: str, *, more_waits: bool = False) -> None:
        self.progress.programmed(family, revision, more_waits=more_waits)
        self._news.set()

    def seen(self) -> None:
        """A slice changed; it may be one that brings nothing to program."""
        self._news.set()

    async def run(self) -> NoReturn:
        """Write when there is more to tell, and often enough to be known alive."""
        backoff = Backoff(first=LEAST_SECONDS, longest=RENEW_SECONDS)
        while True:
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._until_news()
            except TimeoutError:
                pass
            try:
                await self.write()
            except (ApiError, Unreachable) as error:
                values = {"lease": lease_name(self._node_name), "err": error}
                logger.debug("Cannot say what is programmed", extra={"kv": values})
                self._news.set()
                await asyncio.sleep(backoff.delay())
                continue
            backoff.reset()
            await asyncio.sleep(LEAST_SECONDS)

    async def _until_news(self) -> None:
        while self.progress.passed <= self._written:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(0)  # the informer knows the revision after it has told its readers

    async def write(self) -> None:
        """Renew the Lease with what is programmed now, or make it; before the first sync there is nothing to say."""
        passed = self.progress.passed
        if not passed:
            return
        name, spec = lease_name(self._node_name), self._spec()
        patch: Tree = {"metadata": {"annotations": {ANNOTATION: str(passed)}}, "spec": spec}
        try:
            await self._client.patch(LEASES, name, NAMESPACE, patch, type="merge")
        except ApiError as error:
            if error.code != 404:
                raise
            await self._client.create(LEASES, self._new(name, passed, spec))
        self._written = passed

    def _spec(self) -> Tree:
        renewed = rfc3339_micro(self._clock.now())
        return {"holderIdentity": self._node_name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renewed}

    def _new(self, name: str, passed: int, spec: Tree) -> Tree:
        meta: Tree = {
            "name": name,
            "namespace": NAMESPACE,
            "labels": dict(LABELS),
            "annotations": {ANNOTATION: str(passed)},
        }
        if owner := self._owner():
            meta["ownerReferences"] = [dict(owner)]
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


def number(revision: str) -> int:
    """Revisions are numbers here; of an API where they are none nothing is passed."""
    return int(revision) if revision.isdigit() else 0


def node_owner(name: str, uid: str) -> Tree | None:
    """The Node as owner of its Lease."""
    return {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid} if uid else None
