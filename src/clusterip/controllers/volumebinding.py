"""Runs volumes over claims and volumes, makes and removes the folders that new volumes are; protects what is in use.

Stage: shell.  In: claims, volumes, their classes, pods.  Out: three loops; folders.
Rules: what is decided is in volumes.py and protected() here, pure.  A folder is there before its volume is, and gone
before its volume is; without a place for folders nothing is made, and a class of ours waits.
Truth: kube-controller-manager's persistentvolume, pvc-protection, pv-protection and vac-protection controllers.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from clusterip.api.resources.storage import ATTRIBUTES_IN_USE
from clusterip.api.resources.volumes import CLAIM_IN_USE, VOLUME_IN_USE
from clusterip.client.names import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTRIBUTES_CLASSES,
    ResourceRef,
)
from clusterip.controllers import volumes
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Meta, Pod
from clusterip.controllers.model_volumes import AttributesClass, StorageClass, Volume, VolumeClaim
from clusterip.controllers.writes import NOTHING, Create, Delete, Key, Outcome, Patch

T = TypeVar("T")
SHOWN_AT = PurePosixPath("/var/lib/clusterip/volumes")  # on every node


def protected(ref: ResourceRef, meta: Meta, finalizer: str, is_used: bool) -> Outcome:
    """What is in use is not deleted before it is free."""
    held = finalizer in meta.finalizers
    if not meta.is_terminating and not held:
        left = [*meta.finalizers, finalizer]
    elif meta.is_terminating and held and not is_used:
        left = [name for name in meta.finalizers if name != finalizer]
    else:
        return NOTHING
    metadata = {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": left or None}
    return Outcome((Patch(ref, meta.namespace, meta.name, {"metadata": metadata}),))


class Folders:
    """The folders of the volumes that are made here, under one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def make(self, name: str) -> None:
        await asyncio.to_thread(self._make, self._root / name)

    async def remove(self, name: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self._root / name, True)

    @staticmethod
    def _make(path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)  # whoever a container runs as


class Binding:
    """Claims, volumes and what protects them."""

    def __init__(self, world: World) -> None:
        self._claims = world.follow(PERSISTENT_VOLUME_CLAIMS, VolumeClaim)
        self._volumes = world.follow(PERSISTENT_VOLUMES, Volume)
        self._classes = world.follow(STORAGE_CLASSES, StorageClass)
        self._pods = world.follow(PODS, Pod)
        self._pods.index("claim", _claims_of)
        self._attributes = world.follow(VOLUME_ATTRIBUTES_CLASSES, AttributesClass)
        self._claims.index("attributes", attributes_of_claim)
        self._volumes.index("attributes", attributes_of_volume)
        self._folders = Folders(world.volumes) if world.volumes else None
        self.loops = [self._claim_loop(world), self._volume_loop(world), self._attributes_loop(world)]

    def _claim_loop(self, world: World) -> Loop:
        loop = Loop("persistentvolumeclaim", world, self._claim)
        loop.follow(self._claims)
        loop.follow(self._pods, _pod_changed)
        loop.follow(self._volumes, self._waiting)
        loop.follow(self._classes, self._of_class)
        return loop

    def _volume_loop(self, world: World) -> Loop:
        loop = Loop("persistentvolume", world, self._volume)
        loop.follow(self._volumes)
        loop.follow(self._claims, self._of_claim)
        return loop

    def _attributes_loop(self, world: World) -> Loop:
        loop = Loop("volumeattributesclass", world, self._attributes_class)
        loop.follow(self._attributes)
        loop.follow(self._claims, lambda _, old, new: _classes(attributes_of_claim, old, new))
        loop.follow(self._volumes, lambda _, old, new: _classes(attributes_of_volume, old, new))
        return loop

    async def _claim(self, key: Key) -> Outcome:
        claim = self._claims.get(*key)
        if claim is None:
            return NOTHING
        users = [pod for pod in self._pods.by_index("claim", key) if not pod.is_finished]
        kept = protected(PERSISTENT_VOLUME_CLAIMS, claim.metadata, CLAIM_IN_USE, bool(users))
        if kept.writes:
            return kept  # the claim that comes of it is looked at again
        storage = self._classes.get("", claim.spec.storage_class_name or "")
        place = SHOWN_AT if self._folders else None
        outcome = volumes.claimed(claim, self._volumes.items().values(), storage, place, bool(users))
        for write in outcome.writes:
            if isinstance(write, Create) and self._folders:
                await self._folders.make(volumes.volume_name(claim))
        return outcome

    async def _volume(self, key: Key) -> Outcome:
        volume = self._volumes.get(*key)
        if volume is None:
            return NOTHING
        reference = volume.spec.claim_ref
        claim = self._claims.get(reference.namespace, reference.name) if reference else None
        is_bound = claim is not None and reference is not None and claim.metadata.uid == reference.uid
        kept = protected(PERSISTENT_VOLUMES, volume.metadata, VOLUME_IN_USE, is_bound)
        if kept.writes:
            return kept
        outcome = volumes.volume_kept(volume, claim)
        if self._folders and any(isinstance(write, Delete) for write in outcome.writes):
            await self._folders.remove(volume.metadata.name)
        return outcome

    async def _attributes_class(self, key: Key) -> Outcome:
        found = self._attributes.get(*key)
        if found is None:
            return NOTHING
        users = any(kept.by_index("attributes", key[1]) for kept in (self._claims, self._volumes))
        return protected(VOLUME_ATTRIBUTES_CLASSES, found.metadata, ATTRIBUTES_IN_USE, users)

    # -- which keys a change concerns ----------------------------------------------------------------------------------

    def _waiting(self, key: Key, old: Volume | None, new: Volume | None) -> Iterable[Key]:
        """Its own claim, and all claims that still wait for a volume."""
        for volume in (old, new):
            if volume is not None and volume.spec.claim_ref is not None:
                yield volume.spec.claim_ref.namespace, volume.spec.claim_ref.name
        for found, claim in self._claims.items().items():
            if claim.status.phase == "Pending" or claim.spec.volume_name == key[1]:
                yield found

    def _of_class(self, key: Key, old: StorageClass | None, new: StorageClass | None) -> Iterable[Key]:
        return [found for found, claim in self._claims.items().items() if claim.spec.storage_class_name == key[1]]

    def _of_claim(self, key: Key, old: VolumeClaim | None, new: VolumeClaim | None) -> Iterable[Key]:
        for found, volume in self._volumes.items().items():
            reference = volume.spec.claim_ref
            if reference is not None and (reference.namespace, reference.name) == key:
                yield found


def attributes_of_claim(claim: VolumeClaim) -> set[str]:
    """The VolumeAttributesClasses that the claim asks for, has, or is on its way to."""
    status = claim.status
    target = status.modify_volume_status.target_volume_attributes_class_name if status.modify_volume_status else ""
    return {
        claim.spec.volume_attributes_class_name or "",
        status.current_volume_attributes_class_name or "",
        target,
    } - {""}


def attributes_of_volume(volume: Volume) -> set[str]:
    name = volume.spec.volume_attributes_class_name
    return {name} if name else set()


def _classes(names: Callable[[T], set[str]], old: T | None, new: T | None) -> Iterable[Key]:
    """The classes that a change lets go, or takes."""
    return [("", name) for each in (old, new) if each is not None for name in names(each)]


def _claims_of(pod: Pod) -> Iterable[Key]:
    return [(pod.metadata.namespace, name) for name in pod.claims]


def _pod_changed(key: Key, old: Pod | None, new: Pod | None) -> Iterable[Key]:
    """Pods that come, end or go."""
    if old is not None and new is not None and old.is_finished == new.is_finished:
        return ()
    return {claim for pod in (old, new) if pod is not None for claim in _claims_of(pod)}


def start(world: World) -> list[Loop]:
    return Binding(world).loops
