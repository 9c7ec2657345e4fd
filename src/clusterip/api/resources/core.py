"""The core group: configuration, namespaces, nodes, accounts; what pods and services are is beside this.

Stage: none; records and their pure functions.
Truth: kube-apiserver's core/v1 defaults, strategies, validation and printers, recorded answers of 1.36.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from clusterip.api import address_warnings, names, tables
from clusterip.api.checks import each, immutable, reasons
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, copied, metadata_of, name_of
from clusterip.api.names import name_is_label, name_is_subdomain
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import keep_status
from clusterip.api.tables import AGE, NAME, NONE, UNKNOWN, fixed, text

PERMISSIVE_SIZE = 1024 * 1024
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
ROLE_LABEL = "node-role.kubernetes.io/"


def core(kind: str, plural: str, *short: str, **more: Any) -> Resource:
    """A record of the core group."""
    defaults = {"singular": kind.lower(), "short_names": short, "schema": f"io.k8s.api.core.v1.{kind}"}
    return Resource(group="", version="v1", kind=kind, plural=plural, **{**defaults, **more})


# --- ConfigMap and Secret --------------------------------------------------------------------------------------------


def _keys(tree: Tree, *fields: str) -> list[FieldError]:
    found = []
    seen: set[str] = set()
    for field in fields:
        for key in tree.get(field) or ():
            found += [invalid(f"{field}[{key}]", key, reason) for reason in names.config_key(key)]
            if key in seen:
                detail = "duplicate of key present in " + fields[0]
                found.append(invalid(f"{field}[{key}]", key, detail))
            seen.add(key)
    return found


def _bytes_of(value: str) -> int:
    return len(value) * 3 // 4 - value[-2:].count("=")


def _validate_config_map(tree: Tree) -> list[FieldError]:
    found = _keys(tree, "data", "binaryData")
    size = sum([len(value.encode()) for value in (tree.get("data") or {}).values()])
    size += sum(map(_bytes_of, (tree.get("binaryData") or {}).values()))
    return found + _too_large("[]", size)


def _too_large(path: str, size: int) -> list[FieldError]:
    if size <= PERMISSIVE_SIZE:
        return []
    return [FieldError("FieldValueTooLong", path, f"may not be more than {PERMISSIVE_SIZE} bytes")]


def _immutable_when_said(new: Tree, old: Tree, *fields: str) -> list[FieldError]:
    """`immutable: true` cannot be taken back, nor what it protects be changed."""
    if not old.get("immutable"):
        return []
    detail = "field is immutable when `immutable` is set"
    found = [] if new.get("immutable") else [forbidden("immutable", detail)]
    return found + [forbidden(field, detail) for field in fields if (new.get(field) or {}) != (old.get(field) or {})]


def _validate_config_map_update(new: Tree, old: Tree) -> list[FieldError]:
    return _immutable_when_said(new, old, "data", "binaryData") + _validate_config_map(new)


def _default_secret(tree: Tree) -> None:
    tree["type"] = tree.get("type") or "Opaque"
    for key, value in (tree.pop("stringData", None) or {}).items():
        tree["data"] = {**(tree.get("data") or {}), key: base64.b64encode(value.encode()).decode()}


SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _validate_secret(tree: Tree) -> list[FieldError]:
    data, kind = tree.get("data") or {}, tree.get("type") or ""
    found = _too_large("data", sum(map(_bytes_of, data.values()))) + _keys(tree, "data")
    if kind == "kubernetes.io/service-account-token":
        account = (metadata_of(tree).get("annotations") or {}).get("kubernetes.io/service-account.name")
        if not account:
            found.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
    elif kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        found += [required(f"data[{key}]") for key in ("username", "password")]
    for key in SECRET_KEYS.get(kind, ()):
        if key not in data:
            found.append(required(f"data[{key}]"))
        elif kind.startswith("kubernetes.io/dockerc") and not _is_json(data[key]):
            found.append(invalid(f"data[{key}]", "<secret contents redacted>", "invalid character"))
    return found


def _is_json(encoded: str) -> bool:
    try:
        json.loads(base64.b64decode(encoded))
    except ValueError:
        return False
    return True


def _validate_secret_update(new: Tree, old: Tree) -> list[FieldError]:
    return [
        *immutable("type", new.get("type"), old.get("type")),
        *_immutable_when_said(new, old, "data"),
        *_validate_secret(new),
    ]


DATA_TYPE = Column("Type", text("type"), says="@core.v1.Secret.type")


def _data_column(kind: str, *fields: str) -> Column:
    count = fixed(lambda tree: sum(len(tree.get(field) or {}) for field in fields))
    return Column("Data", count, says=f"@core.v1.{kind}.data")


# --- Namespace -------------------------------------------------------------------------------------------------------


def _default_namespace(tree: Tree) -> None:
    if name_of(tree):
        tree["metadata"].setdefault("labels", {})[NAMESPACE_LABEL] = name_of(tree)
    status = tree.setdefault("status", {})
    status["phase"] = status.get("phase") or "Active"


def _prepare_namespace(tree: Tree) -> None:
    tree["status"] = {"phase": "Active"}
    finalizers = (tree.get("spec") or {}).get("finalizers") or []
    if "kubernetes" not in finalizers:
        finalizers = [*finalizers, "kubernetes"]
    tree["spec"] = {**(tree.get("spec") or {}), "finalizers": finalizers}
    if name_of(tree):
        tree["metadata"].setdefault("labels", {})[NAMESPACE_LABEL] = name_of(tree)


def _update_namespace(new: Tree, old: Tree) -> None:
    """Finalizers of the spec change through `finalize` only."""
    keep_status(new, old)
    new["spec"] = copied(old.get("spec") or {})


def _update_namespace_status(new: Tree, old: Tree) -> None:
    new["spec"] = copied(old.get("spec") or {})


def _validate_namespace(tree: Tree) -> list[FieldError]:
    finalizers = each("spec.finalizers", (tree.get("spec") or {}).get("finalizers"))
    return [error for path, name in finalizers for error in finalizer_errors(path, name)]


def finalizer_errors(path: str, name: str) -> list[FieldError]:
    """A finalizer of ours has a short name, others' names are qualified."""
    if "/" in name or name in ("kubernetes", "orphan", "foregroundDeletion"):
        return []
    return [invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")]


def _validate_namespace_status(new: Tree, old: Tree) -> list[FieldError]:
    phase = (new.get("status") or {}).get("phase")
    deleted = bool(metadata_of(new).get("deletionTimestamp"))
    if deleted and phase != "Terminating":
        return [invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")]
    if not deleted and phase != "Active":
        return [invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")]
    return []


# --- Node ------------------------------------------------------------------------------------------------------------

NOT_READY_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _default_node(tree: Tree) -> None:
    spec, status = tree.setdefault("spec", {}), tree.get("status") or {}
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs") and not spec.get("podCIDR"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    elif spec.get("podCIDR") and spec["podCIDRs"][0] != spec["podCIDR"]:
        spec["podCIDRs"] = [spec["podCIDR"]]
    if status.get("capacity") and status.get("allocatable") is None:
        status["allocatable"] = dict(status["capacity"])


def _prepare_node(tree: Tree) -> None:
    """A node is not ready until it says so: nothing is scheduled to it before."""
    taints = tree["spec"].get("taints") or []
    if not any((t.get("key"), t.get("effect")) == tuple(NOT_READY_TAINT.values()) for t in taints):
        tree["spec"]["taints"] = [*taints, dict(NOT_READY_TAINT)]


def _prepare_node_status(new: Tree, old: Tree) -> None:
    new["spec"] = copied(old.get("spec") or {})


def _validate_node(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    cidrs = spec.get("podCIDRs") or []
    found = []
    for path, cidr in each("spec.podCIDRs", cidrs):
        found += reasons(path, cidr, names.network)
    if len(cidrs) > 1 and (len(cidrs) > 2 or len({":" in cidr for cidr in cidrs}) < 2):
        found.append(invalid("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family"))
    return found + _taints(spec.get("taints") or [])


def _taints(taints: list[Tree]) -> list[FieldError]:
    found = []
    seen: set[tuple[Any, Any]] = set()
    for path, taint in each("metadata.taints", taints):
        found += reasons(f"{path}.key", taint.get("key") or "", names.qualified_name)
        found += reasons(f"{path}.value", taint.get("value") or "", names.label_value)
        effect = taint.get("effect") or ""
        if not effect:
            found.append(required(f"{path}.effect"))
        elif effect not in TAINT_EFFECTS:
            found.append(not_supported(f"{path}.effect", effect, TAINT_EFFECTS))
        if (key := (taint.get("key"), effect)) in seen:
            found.append(duplicate(path, _shown_taint(taint)))
        seen.add(key)
    return found


def _shown_taint(taint: Tree) -> Tree:
    shown = {"key": taint.get("key", ""), "value": taint.get("value"), "effect": taint.get("effect", "")}
    return {key: value for key, value in shown.items() if value or key != "value"}


def _validate_node_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _validate_node(new)
    fields, before = new.get("spec") or {}, old.get("spec") or {}
    if before.get("podCIDRs") and fields.get("podCIDRs") != before["podCIDRs"]:
        detail = 'node updates may not change podCIDR except from "" to valid'
        found.append(forbidden("spec.podCIDRs", detail))
    if before.get("providerID") and fields.get("providerID") != before["providerID"]:
        found.append(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
    return found


def _node_status(tree: Tree) -> str:
    conditions = tables.at(tree, "status", "conditions") or []
    ready = [c.get("status") == "True" for c in conditions if c.get("type") == "Ready"]
    words = ["Ready" if ready[-1] else "NotReady"] if ready else ["Unknown"]
    return ",".join(words + ["SchedulingDisabled"] * bool(tables.at(tree, "spec", "unschedulable")))


def _node_roles(tree: Tree) -> str:
    roles = set()
    for key, value in (metadata_of(tree).get("labels") or {}).items():
        if key.startswith(ROLE_LABEL) and key != ROLE_LABEL:
            roles.add(key.removeprefix(ROLE_LABEL))
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _node_address(kind: str) -> Column:
    def address(tree: Tree) -> str:
        found = [a.get("address", "") for a in tables.at(tree, "status", "addresses") or [] if a.get("type") == kind]
        return found[0] if found else NONE

    return Column(kind.replace("IP", "-IP"), fixed(address), says="@core.v1.NodeStatus.addresses", priority=1)


def _node_text(name: str, field: str) -> Column:
    says = f"@core.v1.NodeSystemInfo.{field}"
    return Column(name, text("status", "nodeInfo", field, otherwise=UNKNOWN), says=says, priority=1)


def _kernel(tree: Tree) -> str:
    """The kernel and what it runs on."""
    version, machine = (tables.at(tree, "status", "nodeInfo", field) for field in ("kernelVersion", "architecture"))
    if not version:
        return UNKNOWN
    return f"{version} ({machine})" if machine else str(version)


NODE_COLUMNS = (
    NAME,
    Column("Status", fixed(_node_status), says="The status of the node"),
    Column("Roles", fixed(_node_roles), says="The roles of the node"),
    AGE,
    Column("Version", text("status", "nodeInfo", "kubeletVersion"), says="@core.v1.NodeSystemInfo.kubeletVersion"),
    _node_address("InternalIP"),
    _node_address("ExternalIP"),
    _node_text("OS-Image", "osImage"),
    Column("Kernel-Version", fixed(_kernel), says="@core.v1.NodeSystemInfo.kernelVersion", priority=1),
    _node_text("Container-Runtime", "containerRuntimeVersion"),
)


# --- the records -----------------------------------------------------------------------------------------------------

CONFIG_MAP = core(
    "ConfigMap",
    "configmaps",
    "cm",
    columns=(NAME, _data_column("ConfigMap", "data", "binaryData"), AGE),
    validate=_validate_config_map,
    validate_update=_validate_config_map_update,
    whole_update=True,
    name_rule=name_is_subdomain,
)
SECRET = core(
    "Secret",
    "secrets",
    columns=(NAME, DATA_TYPE, _data_column("Secret", "data"), AGE),
    default=_default_secret,
    validate=_validate_secret,
    validate_update=_validate_secret_update,
    whole_update=True,
    name_rule=name_is_subdomain,
    fields={"type": lambda tree: tree.get("type") or ""},
)
NAMESPACE = core(
    "Namespace",
    "namespaces",
    "ns",
    namespaced=False,
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    columns=(NAME, Column("Status", text("status", "phase"), says="The status of the namespace"), AGE),
    subresources={
        "finalize": Subresource(kind="Namespace", verbs=("update",)),
        "status": Subresource(kind="Namespace"),
    },
    default=_default_namespace,
    prepare_create=_prepare_namespace,
    prepare_update=_update_namespace,
    prepare_status=_update_namespace_status,
    validate=_validate_namespace,
    validate_update=lambda new, old: _validate_namespace(new),
    validate_status=_validate_namespace_status,
    name_rule=name_is_label,
    fields={
        "name": name_of,
        "status.phase": lambda tree: tables.at(tree, "status", "phase") or "",
    },
)
NODE = core(
    "Node",
    "nodes",
    "no",
    namespaced=False,
    columns=NODE_COLUMNS,
    subresources={
        "proxy": Subresource(kind="NodeProxyOptions", verbs=("create", "delete", "get", "patch", "update")),
        "status": Subresource(kind="Node"),
    },
    default=_default_node,
    prepare_create=_prepare_node,
    prepare_update=keep_status,
    prepare_status=_prepare_node_status,
    validate=_validate_node,
    validate_update=_validate_node_update,
    warnings=address_warnings.of_node,
    name_rule=name_is_subdomain,
    fields={"spec.unschedulable": lambda tree: "true" if tables.at(tree, "spec", "unschedulable") else "false"},
)
SERVICE_ACCOUNT = core(
    "ServiceAccount",
    "serviceaccounts",
    "sa",
    columns=(NAME, AGE),
    subresources={
        "token": Subresource(kind="TokenRequest", group="authentication.k8s.io", version="v1", verbs=("create",))
    },
    whole_update=True,
    name_rule=name_is_subdomain,
)
