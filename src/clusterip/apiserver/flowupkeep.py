"""FlowSchemas say whether their priority level exists; the mandatory objects come back when somebody removes them.

Stage: acts.  In: changes of flowcontrol.apiserver.k8s.io.  Out: conditions, objects.
Truth: apiserver's util/flowcontrol (apf_controller.go), kube-apiserver's registry/flowcontrol/ensurer.
"""

from __future__ import annotations

import asyncio
import logging

from clusterip.api.errors import ApiError, quoted
from clusterip.api.flowdefaults import GROUP, MANDATORY, first_levels, first_schemas
from clusterip.api.meta import Tree
from clusterip.apiserver import own, writing
from clusterip.apiserver.cache import Change
from clusterip.apiserver.core import Core
from clusterip.apiserver.writes import Transaction
from clusterip.clock import rfc3339

log = logging.getLogger(__name__)

FOLLOWER = -3  # our place among a collection's watchers
KINDS = {"flowschemas": first_schemas, "prioritylevelconfigurations": first_levels}


class FlowUpkeep:
    """Looks at all of them whenever one changes: they are few."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._wanted = asyncio.Event()
        for plural in KINDS:
            collection = core.registry.of(plural, GROUP)
            if collection is not None:
                collection.watchers[FOLLOWER] = self._changed

    def _changed(self, change: Change) -> None:
        self._wanted.set()

    async def run(self) -> None:
        """Tend them, for the server's life."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.tend()
            except ApiError as error:
                log.warning("Flow schemas cannot be tended", extra={"kv": {"err": error.message}})

    async def tend(self) -> None:
        """One look: what is missing is made, what is not said is said."""
        await self._core.writes.do(self._make)
        await self._core.writes.do(self._tell)

    def _make(self, transaction: Transaction) -> None:
        for plural, first in KINDS.items():
            for tree in first():
                name = tree["metadata"]["name"]
                call = own.own_call(self._core, GROUP, "v1", plural, "", name)
                if name not in MANDATORY or call is None or transaction.get(call.served.collection, call.key):
                    continue
                own.make(self._core, call, transaction, tree)

    def _tell(self, transaction: Transaction) -> None:
        core = self._core
        schemas, levels = (core.registry.of(plural, GROUP) for plural in KINDS)
        if schemas is None or levels is None:
            return
        for key, entry in list(schemas.entries.items()):
            tree = entry.tree()
            level = tree["spec"]["priorityLevelConfiguration"]["name"]
            wanted = condition(level, transaction.get(levels, level) is not None)
            said = (tree.get("status") or {}).get("conditions") or []
            call = own.own_call(core, GROUP, "v1", "flowschemas", "", key)
            if call is None or any(wanted.items() <= each.items() for each in said):
                continue
            if transaction.get(schemas, key) is None:
                continue
            call.subresource = "status"
            told = {**wanted, "lastTransitionTime": rfc3339(core.clock.now())}
            others = [each for each in said if each.get("type") != "Dangling"]
            writing.change(core, call, transaction, lambda old, c=[*others, told]: {**old, "status": {"conditions": c}})  # type: ignore[misc]


def condition(level: str, exists: bool) -> Tree:
    """What a schema says of its level."""
    text = f"This FlowSchema references the PriorityLevelConfiguration object named {quoted(level)} "
    if exists:
        return {"type": "Dangling", "status": "False", "reason": "Found", "message": text + "and it exists"}
    return {"type": "Dangling", "status": "True", "reason": "NotFound", "message": text + "but there is no such object"}
