"""Volume claims and volumes: who gets which, and what becomes of a volume whose claim is gone.

Stage: plan.  In: one claim with all volumes and its class, or one volume with its claim.  Out: writes.
Rules: pure.  A volume is given first (claimRef with the claim's uid), the claim told afterwards: two claims never have
one volume, whoever is interrupted where.  The smallest volume that fits is given.
Truth: core/v1 PersistentVolume, kube-controller-manager's persistentvolume controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from clusterip.api.meta import Tree
from clusterip.api.quantity import amount
from clusterip.api.selectors import from_label_selector
from clusterip.client.names import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from clusterip.controllers.model_volumes import StorageClass, Volume, VolumeClaim
from clusterip.controllers.writes import NOTHING, Create, Delete, Draft, Outcome, Patch, Say, normal, warning

PROVISIONER = "clusterip.dev/host-path"
BOUND_HERE = "pv.kubernetes.io/bound-by-controller"
COMPLETED = "pv.kubernetes.io/bind-completed"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
WANTED = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")

CLAIMS = PERSISTENT_VOLUME_CLAIMS
VOLUMES = PERSISTENT_VOLUMES


# -- a claim ----------------------------------------------------------------------------------------------------------


def claimed(
    claim: VolumeClaim,
    volumes: Iterable[Volume],
    storage: StorageClass | None,
    place: PurePosixPath | None,
    is_awaited: bool,
) -> Outcome:
    """Give the claim a volume. place: where new ones lie, None when none are made; is_awaited: some pod wants it."""
    if claim.metadata.is_terminating:
        return NOTHING
    known = list(volumes)
    if claim.spec.volume_name:
        return _named(claim, known)
    found = _given(claim, known) or _fitting(claim, known)
    if found is not None:
        return _bind(claim, found)
    return _provision(claim, storage, place, is_awaited)


def is_for(volume: Volume, claim: VolumeClaim) -> bool:
    """Whether a volume is kept for the claim: by name, and by uid once that is said."""
    reference, meta = volume.spec.claim_ref, claim.metadata
    if reference is None or (reference.namespace, reference.name) != (meta.namespace, meta.name):
        return False
    return reference.uid in ("", meta.uid)


def _named(claim: VolumeClaim, volumes: Iterable[Volume]) -> Outcome:
    volume = next((volume for volume in volumes if volume.metadata.name == claim.spec.volume_name), None)
    if volume is not None and (volume.spec.claim_ref is None or is_for(volume, claim)):
        return _bind(claim, volume)
    if COMPLETED not in claim.metadata.annotations or claim.status.phase == "Lost":
        return NOTHING  # it may yet come, or be given free
    draft, meta = Draft(), claim.metadata
    words = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    patch = {"status": {"phase": "Lost", "accessModes": None, "capacity": None}}
    draft.add(Patch(CLAIMS, meta.namespace, meta.name, patch, "status", said=warning(CLAIMS, meta, "ClaimLost", words)))
    return draft.outcome()


def _given(claim: VolumeClaim, volumes: Iterable[Volume]) -> Volume | None:
    return next((volume for volume in volumes if is_for(volume, claim)), None)


def _fitting(claim: VolumeClaim, volumes: Iterable[Volume]) -> Volume | None:
    selector = from_label_selector(claim.spec.selector) if claim.spec.selector else None
    asked = amount(claim.spec.resources.requests.get("storage", "0"))
    fitting = [
        volume
        for volume in volumes
        if volume.spec.claim_ref is None
        and volume.status.phase == "Available"
        and not volume.metadata.is_terminating
        and volume.spec.storage_class_name == (claim.spec.storage_class_name or "")
        and volume.spec.volume_mode == claim.spec.volume_mode
        and set(claim.spec.access_modes) <= set(volume.spec.access_modes)
        and amount(volume.spec.capacity.get("storage", "0")) >= asked
        and (selector is None or selector.matches(volume.metadata.labels))
    ]
    return min(
        fitting, key=lambda volume: (amount(volume.spec.capacity["storage"]), volume.metadata.name), default=None
    )


def _bind(claim: VolumeClaim, volume: Volume) -> Outcome:
    """The volume first, then the claim; each only where it does not say so yet."""
    draft, meta, name = Draft(), claim.metadata, volume.metadata.name
    reference = volume.spec.claim_ref
    if reference is None or reference.uid != meta.uid:
        kept: Tree = {"resourceVersion": volume.metadata.resource_version}
        if reference is None:
            kept["annotations"] = {BOUND_HERE: "yes"}
        draft.add(Patch(VOLUMES, "", name, {"metadata": kept, "spec": {"claimRef": _reference(claim)}}))
    if volume.status.phase != "Bound":
        draft.add(Patch(VOLUMES, "", name, {"status": {"phase": "Bound"}}, "status"))
    if claim.spec.volume_name != name or COMPLETED not in meta.annotations:
        notes = {COMPLETED: "yes"} | ({} if claim.spec.volume_name else {BOUND_HERE: "yes"})
        patch = {"metadata": {"uid": meta.uid, "annotations": notes}, "spec": {"volumeName": name}}
        draft.add(Patch(CLAIMS, meta.namespace, meta.name, patch))
    status = {"phase": "Bound", "accessModes": list(volume.spec.access_modes), "capacity": volume.spec.capacity}
    if claim.status.phase != "Bound" or claim.status.capacity != volume.spec.capacity:
        draft.add(Patch(CLAIMS, meta.namespace, meta.name, {"status": status}, "status"))
    return draft.outcome()


def _reference(claim: VolumeClaim) -> Tree:
    meta = claim.metadata
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    }


# -- new volumes ------------------------------------------------------------------------------------------------------


def _provision(
    claim: VolumeClaim, storage: StorageClass | None, place: PurePosixPath | None, is_awaited: bool
) -> Outcome:
    draft, meta, wanted = Draft(), claim.metadata, claim.spec.storage_class_name
    if not wanted:
        words = "no persistent volumes available for this claim and no storage class is set"
        draft.add(Say(normal(CLAIMS, meta, "FailedBinding", words)))
    elif storage is None:
        words = f'storageclass.storage.k8s.io "{wanted}" not found'
        draft.add(Say(warning(CLAIMS, meta, "ProvisioningFailed", words)))
    elif storage.volume_binding_mode == "WaitForFirstConsumer" and not is_awaited:
        words = "waiting for first consumer to be created before binding"
        draft.add(Say(normal(CLAIMS, meta, "WaitForFirstConsumer", words)))
    elif storage.provisioner == PROVISIONER and place is not None:
        draft.add(_create(claim, storage, place))
    elif storage.provisioner != "kubernetes.io/no-provisioner":
        draft.extend(_asked(claim, storage))
    return draft.outcome()


def _create(claim: VolumeClaim, storage: StorageClass, place: PurePosixPath) -> Create:
    meta, name = claim.metadata, volume_name(claim)
    tree: Tree = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "accessModes": list(claim.spec.access_modes),
            "capacity": {"storage": claim.spec.resources.requests.get("storage", "0")},
            "claimRef": _reference(claim),
            "hostPath": {"path": str(place / name), "type": ""},
            "mountOptions": list(storage.mount_options),
            "persistentVolumeReclaimPolicy": storage.reclaim_policy,
            "storageClassName": storage.metadata.name,
            "volumeMode": claim.spec.volume_mode,
        },
    }
    said = normal(CLAIMS, meta, "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
    failed = warning(CLAIMS, meta, "ProvisioningFailed", "Error saving claim: {error}")
    return Create(VOLUMES, tree, said=said, failed=failed, exists_ok=True)


def volume_name(claim: VolumeClaim) -> str:
    """The volume that is made for a claim."""
    return f"pvc-{claim.metadata.uid}"


def _asked(claim: VolumeClaim, storage: StorageClass) -> Iterable[Patch | Say]:
    """A provisioner that runs elsewhere is told by an annotation."""
    meta, name = claim.metadata, storage.provisioner
    if any(meta.annotations.get(key) != name for key in WANTED):
        notes = dict.fromkeys(WANTED, name)
        yield Patch(CLAIMS, meta.namespace, meta.name, {"metadata": {"uid": meta.uid, "annotations": notes}})
    words = (
        f"Waiting for a volume to be created either by the external provisioner '{name}' or manually by the system "
        "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly "
        "registered."
    )
    yield Say(normal(CLAIMS, meta, "ExternalProvisioning", words))


# -- a volume ---------------------------------------------------------------------------------------------------------


def volume_kept(volume: Volume, claim: VolumeClaim | None) -> Outcome:
    """What a volume's phase says now; a volume made here goes with its claim, if its policy says so."""
    reference, meta = volume.spec.claim_ref, volume.metadata
    if reference is None or not reference.uid:
        return _in_phase(volume, "Available")
    if claim is not None and claim.metadata.uid == reference.uid:
        return NOTHING  # the claim's own look tells both
    if is_removable(volume) and volume.status.phase == "Released" and not meta.is_terminating:
        return Outcome((Delete(VOLUMES, "", meta.name, uid=meta.uid),))
    return _in_phase(volume, "Released")


def is_removable(volume: Volume) -> bool:
    """Whether the volume and what is in it go with its claim."""
    made_here = volume.metadata.annotations.get(PROVISIONED_BY) == PROVISIONER
    return made_here and volume.spec.persistent_volume_reclaim_policy == "Delete"


def _in_phase(volume: Volume, phase: str) -> Outcome:
    if volume.status.phase == phase:
        return NOTHING
    return Outcome((Patch(VOLUMES, "", volume.metadata.name, {"status": {"phase": phase}}, "status"),))
