"""PersistentVolume and PersistentVolumeClaim: what one has and what one wants. Nothing here binds them.

Stage: none; records and their pure functions.
Truth: kube-apiserver's core/v1 defaults, strategies, validation and printers, recorded answers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import names
from clusterip.api.checks import each, immutable, label_selector, reasons, supported_if_set
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, copied, metadata_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.quantity import amount
from clusterip.api.resource import Cell, Column, Subresource
from clusterip.api.resources.core import core
from clusterip.api.scheduling_validation import node_selector_errors
from clusterip.api.strategy import keep_status, only_status
from clusterip.api.tables import AGE, NAME, UNSET, at, fixed, text

MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
FILLED_FROM = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))
CLAIM_IN_USE, VOLUME_IN_USE = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
RECLAIM, VOLUME_MODES = ("Delete", "Recycle", "Retain"), ("Block", "Filesystem")
NO_SOURCES = frozenset(
    {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
)
FIXED_CLAIM = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def _pending(tree: Tree) -> None:
    tree["status"] = {"phase": "Pending"}


def _pending_since(tree: Tree) -> None:
    tree["status"] = {"phase": "Pending", "lastPhaseTransitionTime": tree["metadata"].get("creationTimestamp")}


def _default_phase(tree: Tree) -> None:
    status = tree.setdefault("status", {})
    status["phase"] = status.get("phase") or "Pending"


# --- what both say ---------------------------------------------------------------------------------------------------


def _access_modes(path: str, modes: list[str], missing: str = "") -> list[FieldError]:
    found = [] if modes else [required(path, missing)]
    found += [not_supported(path, mode, sorted(MODES)) for mode in modes if mode not in MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        found.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return found


def _storage(path: str, amounts: Tree) -> list[FieldError]:
    """An amount of storage, more than nothing."""
    size = amounts.get("storage")
    if size is None:
        return [required(f"{path}[storage]")]
    return [] if amount(size) > 0 else [invalid(f"{path}[storage]", size, "must be greater than zero")]


def _class(spec: Tree, path: str = "spec") -> list[FieldError]:
    name = spec.get("storageClassName")
    return reasons(f"{path}.storageClassName", name, names.subdomain) if name else []


def modes_text(modes: list[str] | None) -> str:
    """Access modes, shortened, in their own order."""
    return ",".join(short for mode, short in MODES.items() if mode in (modes or ()))


def _class_text(tree: Tree) -> str:
    annotated = (metadata_of(tree).get("annotations") or {}).get(CLASS_ANNOTATION)
    return str(annotated or at(tree, "spec", "storageClassName") or "")


def _phase(tree: Tree) -> str:
    deleted = metadata_of(tree).get("deletionTimestamp")
    return "Terminating" if deleted else str(at(tree, "status", "phase") or "")


def _columns_of_class(what: str) -> tuple[Column, ...]:
    unset = text("spec", "volumeAttributesClassName", otherwise=UNSET)
    return (
        Column("StorageClass", fixed(_class_text), says=f"StorageClass of the {what}"),
        Column("VolumeAttributesClass", unset, says=f"VolumeAttributesClass of the {what}"),
    )


# --- PersistentVolume ------------------------------------------------------------------------------------------------


def _default_volume(tree: Tree) -> None:
    _default_phase(tree)
    spec = tree.setdefault("spec", {})
    spec["persistentVolumeReclaimPolicy"] = spec.get("persistentVolumeReclaimPolicy") or "Retain"
    spec["volumeMode"] = spec.get("volumeMode") or "Filesystem"
    if (host := spec.get("hostPath")) is not None:
        host.setdefault("type", "")


def _sources(spec: Tree) -> list[str]:
    return sorted(field for field, value in spec.items() if field not in NO_SOURCES and value is not None)


def _validate_volume(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    capacity, sources = spec.get("capacity") or {}, _sources(spec)
    found = _access_modes("spec.accessModes", spec.get("accessModes") or [])
    if not capacity:
        found.append(required("spec.capacity"))
    if "storage" not in capacity or len(capacity) > 1:
        found.append(not_supported("spec.capacity", shown_amounts(spec.get("capacity")), ("storage",)))
    for name in capacity:
        found += _storage("spec.capacity", capacity) if name == "storage" else []
    found += supported_if_set("spec.persistentVolumeReclaimPolicy", spec.get("persistentVolumeReclaimPolicy"), RECLAIM)
    found += [forbidden(f"spec.{field}", "may not specify more than 1 volume type") for field in sources[1:]]
    if not sources:
        found.append(required("spec", "must specify a volume type"))
    if spec.get("hostPath") is not None and not at(spec, "hostPath", "path"):
        found.append(required("spec.hostPath.path"))
    found += _node_affinity("spec.nodeAffinity", spec.get("nodeAffinity"))
    if at(spec, "hostPath", "path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        why = "may not be 'recycle' for a hostPath mount of '/'"
        found.append(forbidden("spec.persistentVolumeReclaimPolicy", why))
    return found + _class(spec) + supported_if_set("spec.volumeMode", spec.get("volumeMode"), VOLUME_MODES)


def _node_affinity(path: str, affinity: Tree | None) -> list[FieldError]:
    """Where a volume can be used."""
    if affinity is None:
        return []
    if affinity.get("required") is None:
        return [required(f"{path}.required", "must specify required node constraints")]
    return node_selector_errors(f"{path}.required", affinity["required"])


def shown_amounts(amounts: Tree | None) -> Any:
    return copied(amounts)


def _validate_volume_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _validate_volume(new)
    fields, before = new.get("spec") or {}, old.get("spec") or {}
    sources = {*_sources(fields), *_sources(before)}
    if any(fields.get(field) != before.get(field) for field in sources):
        found.append(
            forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        )
    return found + immutable("spec.volumeMode", fields.get("volumeMode"), before.get("volumeMode"))


def _claim(tree: Tree) -> str:
    claim = at(tree, "spec", "claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def _spec(name: str, cell: Cell, field: str, priority: int = 0) -> Column:
    return Column(name, cell, says=f"@core.v1.PersistentVolumeSpec.{field}", priority=priority)


PERSISTENT_VOLUME = core(
    "PersistentVolume",
    "persistentvolumes",
    "pv",
    namespaced=False,
    columns=(
        NAME,
        _spec("Capacity", text("spec", "capacity", "storage", otherwise="0"), "capacity"),
        _spec("Access Modes", fixed(lambda tree: modes_text(at(tree, "spec", "accessModes"))), "accessModes"),
        _spec("Reclaim Policy", text("spec", "persistentVolumeReclaimPolicy"), "persistentVolumeReclaimPolicy"),
        Column("Status", fixed(_phase), says="@core.v1.PersistentVolumeStatus.phase"),
        _spec("Claim", fixed(_claim), "claimRef"),
        *_columns_of_class("pv"),
        Column("Reason", text("status", "reason"), says="@core.v1.PersistentVolumeStatus.reason"),
        AGE,
        _spec("VolumeMode", text("spec", "volumeMode", otherwise=UNSET), "volumeMode", priority=1),
    ),
    subresources={"status": Subresource(kind="PersistentVolume")},
    default=_default_volume,
    prepare_create=_pending_since,
    prepare_update=keep_status,
    prepare_status=only_status(),
    validate=_validate_volume,
    validate_update=_validate_volume_update,
    whole_update=True,
    name_rule=name_is_subdomain,
    fields={"name": lambda tree: str(metadata_of(tree).get("name") or "")},
)


# --- PersistentVolumeClaim -------------------------------------------------------------------------------------------


def _default_claim(tree: Tree) -> None:
    _default_phase(tree)
    spec = tree.setdefault("spec", {})
    spec["volumeMode"] = spec.get("volumeMode") or "Filesystem"


def _validate_claim(tree: Tree) -> list[FieldError]:
    return claim_errors("spec", tree.get("spec") or {})


def claim_errors(path: str, spec: Tree) -> list[FieldError]:
    """What is wrong with what a claim asks for."""
    found = label_selector(f"{path}.selector", spec.get("selector"))
    found += _access_modes(f"{path}.accessModes", spec.get("accessModes") or [], "at least 1 access mode is required")
    found += _storage(f"{path}.resources", at(spec, "resources", "requests") or {})
    found += _class(spec, path) + supported_if_set(f"{path}.volumeMode", spec.get("volumeMode"), VOLUME_MODES)
    return found + _data_source(spec, path)


def _prepare_claim(tree: Tree) -> None:
    """What a claim is filled from is told in both fields; the elder one means claims and snapshots only."""
    _pending(tree)
    spec = tree["spec"]
    elder, newer = spec.get("dataSource"), spec.get("dataSourceRef")
    if elder and newer is None:
        if (elder.get("apiGroup") or "", elder.get("kind")) not in FILLED_FROM:
            del spec["dataSource"]
        else:
            spec["dataSourceRef"] = copied(elder)
    elif newer and elder is None and not newer.get("namespace"):
        spec["dataSource"] = {field: newer.get(field) for field in ("apiGroup", "kind", "name")}


def _data_source(spec: Tree, path: str = "spec") -> list[FieldError]:
    found = []
    for field in ("dataSource", "dataSourceRef"):
        source = spec.get(field)
        if source is None:
            continue
        found += [required(f"{path}.{field}.{name}") for name in ("name", "kind") if not source.get(name)]
        if not source.get("apiGroup") and source.get("kind") != "PersistentVolumeClaim":
            why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            found.append(invalid(f"{path}.{field}", source.get("kind") or "", why))
    elder, newer = spec.get("dataSource") or {}, spec.get("dataSourceRef") or {}
    elsewhere = newer.get("namespace")
    same = all(elder.get(name) == newer.get(name) for name in ("apiGroup", "kind", "name"))
    if elder and newer and (elsewhere or not same):
        why = (
            "may not be specified when dataSourceRef.namespace is specified"
            if elsewhere
            else "must match dataSourceRef"
        )
        found.append(invalid(path, f"{path}.dataSource", why))
    return found


def _validate_claim_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _validate_claim(new)
    fields, before = copied(new.get("spec") or {}), copied(old.get("spec") or {})
    wanted, had = (at(spec, "resources", "requests", "storage") for spec in (fields, before))
    bound = at(old, "status", "phase") == "Bound"
    _leave_changeable(fields, before, bound)
    if fields != before:
        found.append(forbidden("spec", FIXED_CLAIM))
    if bound and wanted is not None and had is not None and amount(wanted) < amount(had):
        found.append(forbidden("spec.resources.requests.storage", "field can not be less than status.capacity"))
    return found


def _leave_changeable(new: Tree, old: Tree, bound: bool) -> None:
    """Leave out what may change: a volume's name once, and of a bound claim how much it wants and its attributes."""
    if not old.get("volumeName"):
        new.pop("volumeName", None)
        old.pop("volumeName", None)
    for spec in (new, old) if bound else ():
        spec.get("resources", {}).pop("requests", None)
        spec.pop("volumeAttributesClassName", None)


def _validate_claim_status(new: Tree, old: Tree) -> list[FieldError]:
    found = []
    for name, size in (at(new, "status", "capacity") or {}).items():
        if amount(size) < 0:
            found.append(invalid(f"status.capacity[{name}]", size, names.NOT_NEGATIVE))
    for path, condition in each("status.conditions", at(new, "status", "conditions")):
        found += [] if condition.get("type") else [required(f"{path}.type")]
    return found


def _bound(*path: str) -> Any:
    """A part of the status, of a claim that has a volume."""
    return lambda tree: at(tree, "status", *path) if at(tree, "spec", "volumeName") else None


PERSISTENT_VOLUME_CLAIM = core(
    "PersistentVolumeClaim",
    "persistentvolumeclaims",
    "pvc",
    columns=(
        NAME,
        Column("Status", fixed(_phase), says="@core.v1.PersistentVolumeClaimStatus.phase"),
        Column("Volume", text("spec", "volumeName"), says="@core.v1.PersistentVolumeClaimSpec.volumeName"),
        Column(
            "Capacity",
            fixed(lambda tree: _bound("capacity", "storage")(tree) or ""),
            says="@core.v1.PersistentVolumeClaimStatus.capacity",
        ),
        Column(
            "Access Modes",
            fixed(lambda tree: modes_text(_bound("accessModes")(tree))),
            says="@core.v1.PersistentVolumeClaimStatus.accessModes",
        ),
        *_columns_of_class("pvc"),
        AGE,
        Column(
            "VolumeMode",
            text("spec", "volumeMode", otherwise=UNSET),
            says="@core.v1.PersistentVolumeClaimSpec.volumeMode",
            priority=1,
        ),
    ),
    subresources={"status": Subresource(kind="PersistentVolumeClaim")},
    default=_default_claim,
    prepare_create=_prepare_claim,
    prepare_update=keep_status,
    prepare_status=only_status(),
    validate=_validate_claim,
    validate_update=_validate_claim_update,
    validate_status=_validate_claim_status,
    whole_update=True,
    name_rule=name_is_subdomain,
    fields={"name": lambda tree: str(metadata_of(tree).get("name") or "")},
)
