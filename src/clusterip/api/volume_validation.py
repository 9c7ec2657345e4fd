"""What is wrong with a pod's volumes.

Stage: none; pure checks.  In: defaulted volumes and their path.  Out: field errors, in upstream's words.
Rules: sources that nodes here cannot mount are taken as they are; they are told when the pod starts.
Truth: kube-apiserver's apis/core/validation, recorded answers of 1.36.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clusterip.api import names, quantity
from clusterip.api.checks import each, reasons
from clusterip.api.container_validation import local_path_errors, no_backsteps
from clusterip.api.environment_validation import field_errors, resource_field_errors
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree

MODE_RANGE = "must be a number between 0 and 0777 (octal), both inclusive"
FILE_PATHS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
SHORTEST_TOKEN, LONGEST_TOKEN = 600, 1 << 32


def volume_errors(path: str, volumes: list[Tree]) -> list[FieldError]:
    found = []
    seen: set[str] = set()
    for where, volume in each(path, volumes):
        name = volume.get("name") or ""
        wrong = reasons(f"{where}.name", name, names.label) if name else [required(f"{where}.name")]
        if not wrong and name in seen:
            wrong = [duplicate(f"{where}.name", name)]
        seen.add(name)
        found += wrong + _source(where, volume)
    return found


def volume_names(volumes: list[Tree]) -> frozenset[str]:
    return frozenset(volume.get("name") or "" for volume in volumes)


def _source(path: str, volume: Tree) -> list[FieldError]:
    kinds = [kind for kind in volume if kind != "name" and volume[kind] is not None]
    if not kinds:
        return [required(path, "must specify a volume type")]
    first, *others = kinds
    found = SOURCES[first](f"{path}.{first}", volume[first]) if first in SOURCES else []
    return found + [forbidden(f"{path}.{kind}", "may not specify more than 1 volume type") for kind in others]


def _mode(path: str, mode: Any) -> list[FieldError]:
    return [] if mode is None or 0 <= mode <= 0o777 else [invalid(path, mode, MODE_RANGE)]


def _empty(path: str, source: Tree) -> list[FieldError]:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.amount(limit) < 0:
        return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _host_path(path: str, source: Tree) -> list[FieldError]:
    if not source.get("path"):
        return [required(f"{path}.path")]
    found = no_backsteps(f"{path}.path", source["path"])
    kind = source.get("type")
    if kind is not None and kind not in HOST_PATH_TYPES:
        found.append(not_supported(f"{path}.type", kind, HOST_PATH_TYPES))
    return found


def _secret(path: str, source: Tree) -> list[FieldError]:
    return _keyed(path, source, "secretName")


def _config_map(path: str, source: Tree) -> list[FieldError]:
    return _keyed(path, source, "name")


def _keyed(path: str, source: Tree, name: str) -> list[FieldError]:
    found = [] if source.get(name) else [required(f"{path}.{name}")]
    return found + _mode(f"{path}.defaultMode", source.get("defaultMode")) + _items(f"{path}.items", source)


def _items(path: str, source: Tree) -> list[FieldError]:
    found = []
    for where, item in each(path, source.get("items")):
        if not item.get("key"):
            found.append(required(f"{where}.key"))
        found += _local(f"{where}.path", item.get("path") or "") + _mode(f"{where}.mode", item.get("mode"))
    return found


def _local(path: str, target: str) -> list[FieldError]:
    """Where a file of a volume goes: below it, and not where the volume's own links are."""
    if not target:
        return [required(path)]
    found = local_path_errors(path, target)
    first = target.partition("/")[0]
    if first.startswith("..") and first != "..":
        found.append(invalid(path, target, "must not start with '..'"))
    return found


def _claim(path: str, source: Tree) -> list[FieldError]:
    return [] if source.get("claimName") else [required(f"{path}.claimName")]


def _downward(path: str, source: Tree) -> list[FieldError]:
    found = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for item in source.get("items") or ():
        found += _downward_item(path, item)  # upstream names no index
    return found


def _downward_item(path: str, item: Tree) -> list[FieldError]:
    found = _local(f"{path}.path", item.get("path") or "")
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        found += field_errors(f"{path}.fieldRef", field, FILE_PATHS)
        if resource is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            found.append(invalid(path, "resource", detail))
    elif resource is not None:
        found += resource_field_errors(f"{path}.resourceFieldRef", resource, needs_container=True)
    else:
        found.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return found + _mode(f"{path}.mode", item.get("mode"))


def _projected(path: str, source: Tree) -> list[FieldError]:
    found = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    seen: set[str] = set()
    for where, part in each(f"{path}.sources", source.get("sources")):
        kinds = [kind for kind in part if part[kind] is not None]
        for kind in kinds[:1]:
            found += PROJECTIONS[kind](f"{where}.{kind}", part[kind]) if kind in PROJECTIONS else []
        found += [
            forbidden(f"{where}.{kind}", "may not specify more than 1 volume type per source") for kind in kinds[1:]
        ]
        if (token := part.get("serviceAccountToken")) is not None:
            found += _local(f"{path}.path", token.get("path") or "")
        found += _repeated(path, part, seen)
    return found


def _repeated(path: str, part: Tree, seen: set[str]) -> list[FieldError]:
    """Files that another part of the volume has, too."""
    found = []
    for kind in ("secret", "configMap", "downwardAPI"):
        source = part.get(kind) or {}
        for file in filter(None, (item.get("path") for item in source.get("items") or ())):
            if file in seen:
                told = file if kind == "downwardAPI" else source.get("name") or ""
                found.append(invalid(path, told, "conflicting duplicate paths"))
            seen.add(file)
    return found


def _token(path: str, source: Tree) -> list[FieldError]:
    found = []
    seconds = source.get("expirationSeconds")
    if seconds is not None and seconds < SHORTEST_TOKEN:
        detail = "may not specify a duration less than 10 minutes"
        found.append(invalid(f"{path}.expirationSeconds", seconds, detail))
    elif seconds is not None and seconds > LONGEST_TOKEN:
        detail = "may not specify a duration larger than 2^32 seconds"
        found.append(invalid(f"{path}.expirationSeconds", seconds, detail))
    return found


Check = Callable[[str, Tree], list[FieldError]]

PROJECTIONS: dict[str, Check] = {
    "secret": lambda path, source: _keyed(path, source, "name"),
    "configMap": _config_map,
    "downwardAPI": _downward,
    "serviceAccountToken": _token,
}
SOURCES: dict[str, Check] = {
    "emptyDir": _empty,
    "hostPath": _host_path,
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "projected": _projected,
    "persistentVolumeClaim": _claim,
}
