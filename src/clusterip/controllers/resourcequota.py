"""ResourceQuota -> its status: what the namespace's objects use of what it allows.

Stage: plan and shell.  In: one quota, the objects of the kinds that it counts.  Out: a status.
Rules: status is pure.  Writes are judged by the API server at once; this only tells, soon after.  Objects are read
whole when they are needed: a namespace without quotas costs nothing.
Truth: core/v1 ResourceQuotaStatus, kube-controller-manager's resourcequota controller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from clusterip.api.meta import Tree
from clusterip.api.quantity import amount, render
from clusterip.api.usage import PLAIN, covers, qualified, usage
from clusterip.client.discovery import discover
from clusterip.client.names import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES, ResourceRef
from clusterip.controllers.caches import HasMetadata
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Partial, Pod, Quota, Service
from clusterip.controllers.model_volumes import VolumeClaim
from clusterip.controllers.writes import NOTHING, Key, Outcome, Patch

RESYNC_SECONDS = 300.0
GATHER_SECONDS = 0.1  # several changes of a moment are counted once
WHOLE: Mapping[ResourceRef, type[Any]] = {PODS: Pod, SERVICES: Service, PERSISTENT_VOLUME_CLAIMS: VolumeClaim}
OF_PODS = ("pods", "cpu", "memory", "ephemeral-storage", "limits.", "requests.")

Content = Mapping[ResourceRef, Sequence[Tree]]


def status(quota: Quota, content: Content) -> Tree:
    """What is allowed, and what of it is used."""
    hard: dict[str, str] = quota.spec.get("hard") or {}
    used = dict.fromkeys(hard, Decimal(0))
    scoped = {"spec": quota.spec}
    for ref, trees in content.items():
        for tree in trees:
            if covers(scoped, ref.group, ref.plural, tree):
                for name, size in usage(ref.group, ref.plural, tree).items():
                    if name in used:
                        used[name] += size
    return {"hard": hard, "used": {name: _text(name, size) for name, size in used.items()}}


def _text(name: str, size: Decimal) -> str:
    return render(size, "binary" if name.endswith(("memory", "storage")) else "decimal")


def counted(hard: Iterable[str], known: Iterable[ResourceRef]) -> list[ResourceRef]:
    """The resources whose objects the names of a quota count."""
    names = set(hard)
    return [ref for ref in known if ref.namespaced and any(_counts(ref, name) for name in names)]


def _counts(ref: ResourceRef, name: str) -> bool:
    if name == f"count/{qualified(ref.group, ref.plural)}":
        return True
    if ref.group:
        return False
    if ref.plural == "pods":
        return name in OF_PODS or (name.startswith(OF_PODS[-2:]) and name != "requests.storage")
    if ref.plural == "services":
        return name == "services" or name.startswith("services.")
    if ref.plural == "persistentvolumeclaims":
        return name in ("persistentvolumeclaims", "requests.storage") or ".storageclass." in name
    return ref.plural in PLAIN and name == ref.plural


def reconcile(quota: Quota, content: Content) -> Outcome:
    """The status, when it is not what it was."""
    wanted, meta = status(quota, content), quota.metadata
    if _amounts(quota.status) == _amounts(wanted):
        return Outcome(again=RESYNC_SECONDS)
    gone = {part: dict.fromkeys(set(quota.status.get(part) or {}) - set(wanted[part])) for part in ("hard", "used")}
    patch = {"status": {part: {**gone[part], **wanted[part]} for part in ("hard", "used")}}
    return Outcome((Patch(RESOURCE_QUOTAS, meta.namespace, meta.name, patch, "status"),), RESYNC_SECONDS)


def _amounts(told: Tree) -> list[dict[str, Decimal]]:
    return [{name: amount(size) for name, size in (told.get(part) or {}).items()} for part in ("hard", "used")]


# -- shell ------------------------------------------------------------------------------------------------------------


class Counting:
    """Reads what quotas count, and looks again when it changes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._quotas = world.follow(RESOURCE_QUOTAS, Quota)
        self._known: list[ResourceRef] = []
        self._followed: set[ResourceRef] = set()
        self.loop = Loop("resourcequota", world, self._look)
        self.loop.follow(self._quotas)

    async def _look(self, key: Key) -> Outcome:
        quota = self._quotas.get(*key)
        if quota is None or quota.metadata.is_terminating:
            return NOTHING
        refs = await self._refs(quota.spec.get("hard") or {})
        for ref in refs:
            self._follow(ref)
        lists = await asyncio.gather(
            *(self._world.client.list(ref, key[0], metadata_only=ref not in WHOLE) for ref in refs)
        )
        content = {ref: answer.get("items") or [] for ref, answer in zip(refs, lists, strict=True)}
        return reconcile(quota, content)

    async def _refs(self, hard: Iterable[str]) -> list[ResourceRef]:
        """The resources that are counted; discovery is asked again when a name is new to us."""
        names = {name.removeprefix("count/") for name in hard if name.startswith("count/")}
        if not self._known or not names <= {qualified(ref.group, ref.plural) for ref in self._known}:
            self._known = await discover(self._world.client, frozenset({"list", "watch"}))
        return counted(hard, self._known)

    def _follow(self, ref: ResourceRef) -> None:
        if ref not in self._followed:
            self._followed.add(ref)
            self._world.follow(ref, WHOLE.get(ref, Partial)).subscribe(self._changed(ref))

    def _changed(self, ref: ResourceRef) -> Callable[[Key, HasMetadata | None, HasMetadata | None], None]:
        def changed(key: Key, old: HasMetadata | None, new: HasMetadata | None) -> None:
            if old is not None and new is not None and _matter(old) == _matter(new):
                return
            for quota in self._quotas.by_index("namespace", key[0]):
                self.loop.queue.add_after((key[0], quota.metadata.name), GATHER_SECONDS)

        return changed


def _matter(item: HasMetadata) -> object:
    """What of an object may change its usage, apart from its coming and going."""
    if isinstance(item, Pod):
        return item.spec, item.is_finished
    return item.spec if isinstance(item, (Service, VolumeClaim)) else None


def start(world: World) -> list[Loop]:
    return [Counting(world).loop]
