"""What is wrong with a container's environment, and with references to what a pod knows of itself.

Stage: none; pure checks.  In: variables, sources, references and their paths.  Out: field errors, in upstream's words.
Truth: kube-apiserver's apis/core/validation, recorded answers of 1.36.
"""

from __future__ import annotations

import re

from clusterip.api import names
from clusterip.api.checks import each, reasons
from clusterip.api.errors import FieldError, invalid, not_supported, required
from clusterip.api.meta import Tree

ENV_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
KNOWN_PATHS = frozenset(
    {*ENV_PATHS, "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"}
)
RESOURCE_PATHS = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
ONE_SOURCE = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
TWO_SOURCES = "may not have more than one field specified at a time"


def environment_errors(path: str, variables: list[Tree]) -> list[FieldError]:
    found = []
    for where, variable in each(path, variables):
        name = variable.get("name") or ""
        found += reasons(f"{where}.name", name, names.env_name) if name else [required(f"{where}.name")]
        if variable.get("valueFrom") is not None:
            found += _source(f"{where}.valueFrom", variable["valueFrom"], variable.get("value") or "")
    return found


def _source(path: str, source: Tree, value: str) -> list[FieldError]:
    found = []
    given = [kind for kind in SOURCES if source.get(kind) is not None]
    for kind in given:
        found += SOURCES[kind](f"{path}.{kind}", source[kind])
    if not given:
        found.append(invalid(path, "", ONE_SOURCE))
    elif value:
        found.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        found.append(invalid(path, "", TWO_SOURCES))
    return found


def _env_field(path: str, reference: Tree) -> list[FieldError]:
    return field_errors(path, reference, ENV_PATHS)


def field_errors(path: str, reference: Tree, allowed: tuple[str, ...]) -> list[FieldError]:
    """A reference to a field of the pod itself."""
    text = reference.get("fieldPath") or ""
    if not text:
        return [required(f"{path}.fieldPath")]
    version = reference.get("apiVersion") or ""
    if version != "v1":
        detail = f"error converting fieldPath: unsupported pod version: {version}"
        return [invalid(f"{path}.fieldPath", text, detail)]
    if subscript := re.fullmatch(r"(metadata\.(?:labels|annotations))\['(.*)'\]", text):
        key = subscript[2].lower() if subscript[1] == "metadata.annotations" else subscript[2]
        return reasons(path, key, names.qualified_name)
    if text not in KNOWN_PATHS:
        detail = f"error converting fieldPath: field label not supported: {text}"
        return [invalid(f"{path}.fieldPath", text, detail)]
    return [] if text in allowed else [not_supported(f"{path}.fieldPath", text, allowed)]


def _env_resource(path: str, reference: Tree) -> list[FieldError]:
    return resource_field_errors(path, reference, needs_container=False)


def resource_field_errors(path: str, reference: Tree, *, needs_container: bool) -> list[FieldError]:
    """A reference to what a container requests or is limited to."""
    resource = reference.get("resource") or ""
    if needs_container and not reference.get("containerName"):
        return [required(f"{path}.containerName")]
    if not resource:
        return [required(f"{path}.resource")]
    if resource in RESOURCE_PATHS or resource.startswith(("requests.hugepages-", "limits.hugepages-")):
        return []
    return [not_supported(f"{path}.resource", resource, RESOURCE_PATHS)]


def _key(path: str, reference: Tree) -> list[FieldError]:
    """A key of a ConfigMap or a Secret."""
    key = reference.get("key") or ""
    found = reasons(f"{path}.name", reference.get("name") or "", names.subdomain)
    return found + (reasons(f"{path}.key", key, names.config_key) if key else [required(f"{path}.key")])


def _file_key(path: str, reference: Tree) -> list[FieldError]:
    return [required(f"{path}.{field}") for field in ("volumeName", "path", "key") if not reference.get(field)]


SOURCES = {
    "fieldRef": _env_field,
    "resourceFieldRef": _env_resource,
    "configMapKeyRef": _key,
    "secretKeyRef": _key,
    "fileKeyRef": _file_key,
}


def environment_from_errors(path: str, sources: list[Tree]) -> list[FieldError]:
    found = []
    for where, source in each(path, sources):
        if source.get("prefix"):
            found += reasons(f"{where}.prefix", source["prefix"], names.env_name)
        given = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        for kind in given:
            name = source[kind].get("name") or ""
            at = f"{where}.{kind}.name"
            found += reasons(at, name, names.subdomain) if name else [required(at)]
        if not given:
            found.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            found.append(invalid(path, "", TWO_SOURCES))
    return found
