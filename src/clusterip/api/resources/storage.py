"""storage.k8s.io: classes of volumes, and what drivers of volumes say of themselves. Nothing here acts on them.

Stage: none; records and their pure functions.
Truth: kube-apiserver's apis/storage defaults, strategies, validation and printers, recorded answers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import names
from clusterip.api.checks import each, immutable, label_selector, reasons, supported, supported_if_set
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, required, too_long
from clusterip.api.meta import Tree, copied, metadata_of, name_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.quantity import amount
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import drop_status, keep_status, only_status
from clusterip.api.tables import AGE, CREATED, NAME, UNSET, at, fixed, text

GROUP = "storage.k8s.io"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
OLD_DEFAULT_CLASS = "storageclass.beta.kubernetes.io/is-default-class"
RECLAIM, BINDING = ("Delete", "Retain"), ("Immediate", "WaitForFirstConsumer")
GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LIFECYCLES = ("Ephemeral", "Persistent")
MOST_PARAMETERS, LARGEST_PARAMETERS = 512, 256 * 1024
LONGEST_DRIVER, LONGEST_NODE_ID = 63, 192


def storage(kind: str, plural: str, *short: str, **more: Any) -> Resource:
    """A record of this group."""
    known = {"namespaced": False, "singular": kind.lower(), "name_rule": name_is_subdomain}
    schema = f"io.k8s.api.storage.v1.{kind}"
    named = {"group": GROUP, "version": "v1", "kind": kind, "plural": plural, "short_names": short, "schema": schema}
    return Resource(**{**named, **known, **more})


def _says(kind: str, field: str) -> str:
    return f"@storage.v1.{kind}.{field}"


def _fixed_fields(new: Tree, old: Tree, *fields: str) -> list[FieldError]:
    """Fields that a class keeps for ever."""
    changed = [field for field in fields if (new.get(field) or None) != (old.get(field) or None)]
    return [forbidden(field, f"updates to {field} are forbidden.") for field in changed]


# --- StorageClass ----------------------------------------------------------------------------------------------------


def _default_class(tree: Tree) -> None:
    tree["reclaimPolicy"] = tree.get("reclaimPolicy") or "Delete"
    tree["volumeBindingMode"] = tree.get("volumeBindingMode") or "Immediate"


def _validate_class(tree: Tree) -> list[FieldError]:
    return [
        *_provisioner(tree.get("provisioner") or ""),
        *_parameters(tree.get("parameters") or {}),
        *supported_if_set("reclaimPolicy", tree.get("reclaimPolicy"), RECLAIM),
        *supported("volumeBindingMode", tree.get("volumeBindingMode"), BINDING),
        *_topologies(tree.get("allowedTopologies") or []),
    ]


def _provisioner(name: str) -> list[FieldError]:
    if not name:
        return [required("provisioner")]
    return [invalid("provisioner", name, reason) for reason in names.qualified_name(name.lower())]


def _parameters(parameters: Tree, needed: bool = False) -> list[FieldError]:
    path = "parameters"
    if needed and not parameters:
        return [required(path, "must contain at least one key/value pair")]
    if len(parameters) > MOST_PARAMETERS:
        return [too_long(path, MOST_PARAMETERS)]
    found = [invalid(path, "", "field can not be empty.") for key in parameters if not key]
    size = sum(len(key.encode()) + len(str(value).encode()) for key, value in parameters.items())
    return found + ([too_long(path, LARGEST_PARAMETERS)] if size > LARGEST_PARAMETERS else [])


def _topologies(terms: list[Tree]) -> list[FieldError]:
    found = []
    for path, term in each("allowedTopologies", terms):
        seen: set[str] = set()
        if not term.get("matchLabelExpressions"):
            found.append(duplicate(f"{path}.matchLabelExpressions", ""))
        for where, wanted in each(f"{path}.matchLabelExpressions", term.get("matchLabelExpressions")):
            key, values = wanted.get("key") or "", wanted.get("values") or []
            found += [] if values else [required(f"{where}.values")]
            found += [duplicate(f"{where}.key", key)] if key in seen else []
            found += reasons(f"{where}.key", key, names.qualified_name)
            seen.add(key)
    return found


def _validate_class_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _fixed_fields(new, old, "parameters", "provisioner")
    if new.get("reclaimPolicy") != old.get("reclaimPolicy"):
        found.append(forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden."))
    return found + immutable("volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode"))


def _class_name(tree: Tree) -> str:
    """The default class says so behind its name."""
    annotations = metadata_of(tree).get("annotations") or {}
    default = "true" in (annotations.get(DEFAULT_CLASS), annotations.get(OLD_DEFAULT_CLASS))
    return f"{name_of(tree)} (default)" if default else name_of(tree)


STORAGE_CLASS = storage(
    "StorageClass",
    "storageclasses",
    "sc",
    columns=(
        Column("Name", fixed(_class_name), format="name", says=NAME.says),
        Column("Provisioner", text("provisioner"), says=_says("StorageClass", "provisioner")),
        Column("ReclaimPolicy", text("reclaimPolicy"), says=_says("StorageClass", "reclaimPolicy")),
        Column("VolumeBindingMode", text("volumeBindingMode"), says=_says("StorageClass", "volumeBindingMode")),
        Column(
            "AllowVolumeExpansion",
            fixed(lambda tree: bool(at(tree, "allowVolumeExpansion"))),
            says=_says("StorageClass", "allowVolumeExpansion"),
        ),
        AGE,
    ),
    default=_default_class,
    validate=_validate_class,
    validate_update=_validate_class_update,
)


# --- VolumeAttributesClass -------------------------------------------------------------------------------------------

ATTRIBUTES_IN_USE = "kubernetes.io/vac-protection"


def _driver(path: str, name: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    found = [too_long(path, LONGEST_DRIVER)] if len(name) > LONGEST_DRIVER else []
    return found + [invalid(path, name, reason) for reason in names.subdomain(name.lower())]


def _validate_attributes(tree: Tree) -> list[FieldError]:
    return _driver("driverName", tree.get("driverName") or "") + _parameters(tree.get("parameters") or {}, needed=True)


VOLUME_ATTRIBUTES_CLASS = storage(
    "VolumeAttributesClass",
    "volumeattributesclasses",
    "vac",
    columns=(
        Column("Name", fixed(_class_name), format="name", says=NAME.says),
        Column("DriverName", text("driverName"), says=_says("VolumeAttributesClass", "driverName")),
        AGE,
    ),
    validate=_validate_attributes,
    validate_update=lambda new, old: _fixed_fields(new, old, "driverName", "parameters"),
)


# --- CSIDriver -------------------------------------------------------------------------------------------------------

DRIVER_DEFAULTS = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "requiresRepublish": False,
    "seLinuxMount": False,
}


def _default_driver(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    for field, value in DRIVER_DEFAULTS.items():
        if spec.get(field) is None:
            spec[field] = value
    spec["fsGroupPolicy"] = spec.get("fsGroupPolicy") or "ReadWriteOnceWithFSType"
    spec["volumeLifecycleModes"] = spec.get("volumeLifecycleModes") or ["Persistent"]


def _prepare_driver(new: Tree, old: Tree) -> None:
    """A driver that says something else is another generation."""
    generation = metadata_of(old).get("generation") or 0
    if new.get("spec") != old.get("spec"):
        new["metadata"]["generation"] = generation + 1


def _validate_driver(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    found = _driver("metadata.name", name_of(tree)) if name_of(tree) else []
    found += supported_if_set("spec.fsGroupPolicy", spec.get("fsGroupPolicy"), GROUP_POLICIES)
    for path, mode in each("spec.volumeLifecycleModes", spec.get("volumeLifecycleModes")):
        found += supported(path.partition("[")[0], mode, LIFECYCLES)
    return found + _audiences(spec.get("tokenRequests") or [])


def _audiences(requests: list[Tree]) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for path, request in each("spec.tokenRequests", requests):
        audience, seconds = request.get("audience") or "", request.get("expirationSeconds")
        if audience in seen:
            found.append(duplicate(f"{path}.audience", audience))
        seen.add(audience)
        if seconds is not None and seconds < 600:
            found.append(
                invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
            )
        elif seconds is not None and seconds > 1 << 32:
            why = "may not specify a duration larger than 2^32 seconds"
            found.append(invalid(f"{path}.expirationSeconds", seconds, why))
    return found


def _validate_driver_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _validate_driver(new)
    for field in ("attachRequired", "volumeLifecycleModes"):
        found += immutable(f"spec.{field}", at(new, "spec", field), at(old, "spec", field))
    return found


def _yes_or_no(name: str, field: str) -> Column:
    says = _says("CSIDriverSpec", field)
    return Column(name, fixed(lambda tree: bool(at(tree, "spec", field))), type="boolean", says=says)


def _token_audiences(tree: Tree) -> str:
    return ",".join(request.get("audience") or "" for request in at(tree, "spec", "tokenRequests") or ()) or UNSET


CSI_DRIVER = storage(
    "CSIDriver",
    "csidrivers",
    columns=(
        NAME,
        _yes_or_no("AttachRequired", "attachRequired"),
        _yes_or_no("PodInfoOnMount", "podInfoOnMount"),
        _yes_or_no("StorageCapacity", "storageCapacity"),
        Column("TokenRequests", fixed(_token_audiences), says=_says("CSIDriverSpec", "tokenRequests")),
        _yes_or_no("RequiresRepublish", "requiresRepublish"),
        Column(
            "Modes",
            fixed(lambda tree: ",".join(at(tree, "spec", "volumeLifecycleModes") or ()) or "<none>"),
            says=_says("CSIDriverSpec", "volumeLifecycleModes"),
        ),
        AGE,
    ),
    default=_default_driver,
    prepare_update=_prepare_driver,
    validate=_validate_driver,
    validate_update=_validate_driver_update,
)


# --- CSINode ---------------------------------------------------------------------------------------------------------


def _validate_node(tree: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for path, driver in each("spec.drivers", at(tree, "spec", "drivers")):
        name, node = driver.get("name") or "", driver.get("nodeID") or ""
        found += _driver(f"{path}.name", name)
        if not node:
            found.append(required(f"{path}.nodeID", node))
        elif len(node) > LONGEST_NODE_ID:
            found.append(invalid(f"{path}.nodeID", node, f"must be {LONGEST_NODE_ID} characters or less"))
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None and count < 0:
            found.append(invalid(f"{path}.allocatable.count", count, names.NOT_NEGATIVE))
        found += _topology_keys(f"{path}.topologyKeys", driver.get("topologyKeys") or [])
        if name in seen:
            found.append(duplicate(f"{path}.name", name))
        seen.add(name)
    return found


def _topology_keys(path: str, keys: list[str]) -> list[FieldError]:
    found = []
    for number, key in enumerate(keys):
        if not key:
            found.append(required(path, key))
        found += [duplicate(path, key)] if key in keys[:number] else []
        found += reasons(path, key, names.qualified_name)
    return found


CSI_NODE = storage(
    "CSINode",
    "csinodes",
    columns=(
        NAME,
        Column(
            "Drivers",
            fixed(lambda tree: len(at(tree, "spec", "drivers") or ())),
            type="integer",
            says="Drivers indicates the number of CSI drivers registered on the node",
        ),
        AGE,
    ),
    validate=_validate_node,
    validate_update=lambda new, old: _validate_node(new),
)


# --- CSIStorageCapacity ----------------------------------------------------------------------------------------------


def _validate_capacity(tree: Tree) -> list[FieldError]:
    found = reasons("storageClassName", tree.get("storageClassName") or "", names.subdomain)
    found += label_selector("nodeTopology", tree.get("nodeTopology"))
    for field in ("capacity", "maximumVolumeSize"):
        if tree.get(field) is not None and amount(tree[field]) < 0:
            found.append(invalid(field, tree[field], names.NOT_NEGATIVE))
    return found


def _validate_capacity_update(new: Tree, old: Tree) -> list[FieldError]:
    fields = ("nodeTopology", "storageClassName")
    found = _validate_capacity(new)
    return found + [error for field in fields for error in immutable(field, new.get(field), old.get(field))]


CSI_STORAGE_CAPACITY = storage(
    "CSIStorageCapacity",
    "csistoragecapacities",
    namespaced=True,
    columns=(NAME, CREATED),
    validate=_validate_capacity,
    validate_update=_validate_capacity_update,
)


# --- VolumeAttachment ------------------------------------------------------------------------------------------------


def _validate_attachment(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    source = spec.get("source") or {}
    found = _driver("spec.attacher", spec.get("attacher") or "")
    if not spec.get("nodeName"):
        found.append(required("spec.nodeName"))
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and volume is None:
        found.append(required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
    elif inline is not None and volume is not None:
        why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        found.append(forbidden("spec.source", why))
    elif volume == "":
        found.append(required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName"))
    return found


def _validate_attachment_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _validate_attachment(new)
    if new.get("spec") != old.get("spec"):
        found.append(invalid("spec", copied(new.get("spec") or {}), names.IMMUTABLE))
    return found


VOLUME_ATTACHMENT = storage(
    "VolumeAttachment",
    "volumeattachments",
    columns=(
        NAME,
        Column("Attacher", text("spec", "attacher"), format="name", says=_says("VolumeAttachmentSpec", "attacher")),
        Column(
            "PV",
            text("spec", "source", "persistentVolumeName"),
            says=_says("VolumeAttachmentSource", "persistentVolumeName"),
        ),
        Column("Node", text("spec", "nodeName"), says=_says("VolumeAttachmentSpec", "nodeName")),
        Column(
            "Attached",
            fixed(lambda tree: bool(at(tree, "status", "attached"))),
            type="boolean",
            says=_says("VolumeAttachmentStatus", "attached"),
        ),
        AGE,
    ),
    subresources={"status": Subresource(kind="VolumeAttachment")},
    prepare_create=drop_status,
    prepare_update=keep_status,
    prepare_status=only_status(),
    validate=_validate_attachment,
    validate_update=_validate_attachment_update,
)
