"""What is wrong with a container: its image, ports, environment, mounts, probes, resources.

Stage: none; pure checks.  In: a defaulted container and its path.  Out: field errors, in upstream's words.
Truth: kube-apiserver's apis/core/validation, recorded answers of 1.36.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from clusterip.api import names, quantity
from clusterip.api.checks import each, not_negative, number_or_name, reasons, supported
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, not_found, not_supported, required
from clusterip.api.meta import Tree

PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
MAX_ID = 2**31 - 1
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


def container_errors(path: str, container: Tree, volumes: frozenset[str], grace: Any) -> list[FieldError]:
    """All that can be said of one container alone."""
    found = _name(path, container) + _image(path, container)
    found += supported(f"{path}.terminationMessagePolicy", container.get("terminationMessagePolicy"), MESSAGE_POLICIES)
    found += supported(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES)
    found += _ports(f"{path}.ports", container.get("ports") or [])
    found += _environment(f"{path}.env", container.get("env") or [])
    found += _environment_from(f"{path}.envFrom", container.get("envFrom") or [])
    found += _mounts(f"{path}.volumeMounts", container.get("volumeMounts") or [], volumes)
    found += resource_errors(f"{path}.resources", container.get("resources") or {})
    found += security_errors(f"{path}.securityContext", container.get("securityContext") or {})
    for name in ("postStart", "preStop"):
        if (action := (container.get("lifecycle") or {}).get(name)) is not None:
            found += _handler(f"{path}.lifecycle.{name}", action, grace)
    return found


def probe_errors(path: str, container: Tree, grace: Any) -> list[FieldError]:
    """The probes, which init containers that end do not have."""
    found = []
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name) is not None:
            found += _probe(f"{path}.{name}", container[name], name, grace)
    return found


def _name(path: str, container: Tree) -> list[FieldError]:
    name = container.get("name") or ""
    return reasons(f"{path}.name", name, names.label) if name else [required(f"{path}.name")]


def _image(path: str, container: Tree) -> list[FieldError]:
    image = container.get("image") or ""
    if image != image.strip():
        return [invalid(f"{path}.image", image, "must not have leading or trailing whitespace")]
    return [] if image else [required(f"{path}.image")]


# --- ports -----------------------------------------------------------------------------------------------------------


def _ports(path: str, ports: list[Tree]) -> list[FieldError]:
    found = []
    seen: set[str] = set()
    for where, port in each(path, ports):
        name = port.get("name") or ""
        if name:
            wrong = reasons(f"{where}.name", name, names.port_name)
            found += wrong
            if not wrong and name in seen:
                found.append(duplicate(f"{where}.name", name))
            seen.add(name)
        found += _port_numbers(where, port)
        found += supported(f"{where}.protocol", port.get("protocol"), PROTOCOLS)
    return found


def _port_numbers(path: str, port: Tree) -> list[FieldError]:
    number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
    found = (
        reasons(f"{path}.containerPort", number, names.port_number) if number else [required(f"{path}.containerPort")]
    )
    return found + (reasons(f"{path}.hostPort", host, names.port_number) if host else [])


def host_port_errors(path: str, containers: list[Tree], uses_host_network: bool) -> list[FieldError]:
    """No two ports of the host alike; on the host's network a port is the container's own (a template may leave it)."""
    found = []
    is_template = "template." in path
    seen: set[str] = set()
    for where, container in each(path, containers):
        for at, port in each(f"{where}.ports", container.get("ports")):
            host = port.get("hostPort") or 0
            own = port.get("containerPort") or 0
            if uses_host_network and host != own and (host or not is_template):
                detail = "must match `containerPort` when `hostNetwork` is true"
                found.append(invalid(f"{at}.hostPort", host, detail))
            key = f"{port.get('protocol', '')}/{port.get('hostIP') or ''}/{host}"
            if host and key in seen:
                found.append(duplicate(f"{at}.hostPort", key))
            seen.add(key)
    return found


# --- environment -----------------------------------------------------------------------------------------------------


def _environment(path: str, variables: list[Tree]) -> list[FieldError]:
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


def _environment_from(path: str, sources: list[Tree]) -> list[FieldError]:
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


# --- mounts ----------------------------------------------------------------------------------------------------------


def _mounts(path: str, mounts: list[Tree], volumes: frozenset[str]) -> list[FieldError]:
    found = []
    seen: set[str] = set()
    for where, mount in each(path, mounts):
        name, target = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            found.append(required(f"{where}.name"))
        if name not in volumes:
            found.append(not_found(f"{where}.name", name))
        if not target:
            found.append(required(f"{where}.mountPath"))
        if target in seen:
            found.append(invalid(f"{where}.mountPath", target, "must be unique"))
        seen.add(target)
        for field in ("subPath", "subPathExpr"):
            if mount.get(field):
                found += local_path_errors(f"{path}.{field}", mount[field])
        if mount.get("subPath") and mount.get("subPathExpr"):
            detail = "subPathExpr and subPath are mutually exclusive"
            found.append(invalid(f"{where}.subPathExpr", mount["subPathExpr"], detail))
    return found


def local_path_errors(path: str, target: str) -> list[FieldError]:
    """A path that stays below where it begins."""
    found = [invalid(path, target, "must be a relative path")] if target.startswith("/") else []
    return found + no_backsteps(path, target)


def no_backsteps(path: str, target: str) -> list[FieldError]:
    return [invalid(path, target, "must not contain '..'")] if ".." in target.split("/") else []


# --- probes ----------------------------------------------------------------------------------------------------------


def _probe(path: str, probe: Tree, name: str, grace: Any) -> list[FieldError]:
    found = _handler(path, probe, grace)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        found += not_negative(f"{path}.{field}", probe.get(field))
    own = probe.get("terminationGracePeriodSeconds")
    if own is not None and own <= 0:
        found.append(invalid(f"{path}.terminationGracePeriodSeconds", own, "must be greater than 0"))
    if name == "readinessProbe":
        if own is not None:
            detail = "must not be set for readinessProbes"
            found.append(invalid(f"{path}.terminationGracePeriodSeconds", own, detail))
    elif probe.get("successThreshold") != 1:
        found.append(invalid(f"{path}.successThreshold", probe.get("successThreshold"), "must be 1"))
    return found


def _handler(path: str, action: Tree, grace: Any) -> list[FieldError]:
    given = [kind for kind in HANDLERS if action.get(kind) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    first, *others = given
    found = _action(f"{path}.{first}", first, action[first], grace)
    return found + [forbidden(f"{path}.{kind}", "may not specify more than 1 handler type") for kind in others]


def _action(path: str, kind: str, action: Tree, grace: Any) -> list[FieldError]:
    if kind == "exec":
        return [] if action.get("command") else [required(f"{path}.command")]
    if kind == "sleep":
        seconds = action.get("seconds") or 0
        if grace is None or 0 <= seconds <= grace:
            return []
        detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        return [invalid(path, seconds, detail)]
    found = number_or_name(f"{path}.port", action.get("port", 0))
    return found + (_request(path, action) if kind == "httpGet" else [])


def _request(path: str, request: Tree) -> list[FieldError]:
    found = [] if request.get("path") else [required(f"{path}.path")]
    if request.get("scheme") not in ("HTTP", "HTTPS"):
        found.append(not_supported(f"{path}.scheme", request.get("scheme") or "", ("HTTP", "HTTPS")))
    for header in request.get("httpHeaders") or ():
        found += reasons(f"{path}.httpHeaders", header.get("name") or "", names.http_header)
    return found


# --- resources and security ------------------------------------------------------------------------------------------

STANDARD = ("cpu", "memory", "ephemeral-storage")


def resource_errors(path: str, resources: Tree) -> list[FieldError]:
    """Names that are resources of containers, amounts that are none less than none, requests within limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    found = []
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            found += _resource_name(f"{path}.{kind}", name) + _amount(f"{path}.{kind}[{name}]", text, name)
    for name, text in requests.items():
        limit = limits.get(name)
        if limit is None:
            if not _may_overcommit(name):
                found.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif quantity.amount(text) > quantity.amount(limit):
            detail = f"must be less than or equal to {name} limit of {limit}"
            found.append(invalid(f"{path}.requests", text, detail))
        elif not _may_overcommit(name) and quantity.amount(text) != quantity.amount(limit):
            found.append(invalid(f"{path}.requests", text, f"must be equal to {name} limit of {limit}"))
    return found


def _may_overcommit(name: str) -> bool:
    return not name.startswith("hugepages-") and ("/" not in name or name.partition("/")[0].endswith("kubernetes.io"))


def _resource_name(path: str, name: str) -> list[FieldError]:
    if why := names.qualified_name(name):
        return [invalid(path, name, reason) for reason in why]
    if "/" in name or name in STANDARD or name.startswith("hugepages-"):
        return []
    return [
        invalid(path, name, "must be a standard resource type or fully qualified"),
        invalid(path, name, "must be a standard resource for containers"),
    ]


def _amount(path: str, text: Any, name: str) -> list[FieldError]:
    amount = quantity.amount(text)
    if amount < 0:
        return [invalid(path, text, names.NOT_NEGATIVE)]
    if not _may_overcommit(name) and amount != amount.to_integral_value():
        return [invalid(path, text, "must be an integer")]
    return [] if amount <= Decimal(2**63) else [invalid(path, text, "must be an integer")]


def security_errors(path: str, context: Tree) -> list[FieldError]:
    found = []
    for field in ("runAsUser", "runAsGroup"):
        number = context.get(field)
        if number is not None and not 0 <= number <= MAX_ID:
            found.append(invalid(f"{path}.{field}", number, names.within(0, MAX_ID)))
    mount = context.get("procMount")
    if mount is not None and mount not in ("Default", "Unmasked"):
        found.append(not_supported(f"{path}.procMount", mount, ("Default", "Unmasked")))
    if context.get("allowPrivilegeEscalation") is False and context.get("privileged"):
        detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        found.append(invalid(path, context, detail))
    added = (context.get("capabilities") or {}).get("add") or ()
    if context.get("allowPrivilegeEscalation") is False and "CAP_SYS_ADMIN" in added:
        detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        found.append(invalid(path, context, detail))
    return found + _seccomp(f"{path}.seccompProfile", context.get("seccompProfile"))


def _seccomp(path: str, profile: Tree | None) -> list[FieldError]:
    if profile is None:
        return []
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    if kind == "Localhost" and not local:
        return [required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")]
    if kind != "Localhost" and local is not None:
        return [invalid(f"{path}.localhostProfile", local, "can only be set when seccomp type is Localhost")]
    return supported(f"{path}.type", kind, ("Localhost", "RuntimeDefault", "Unconfined"))


# --- ephemeral containers --------------------------------------------------------------------------------------------

_EPHEMERAL = (
    "name image command args workingDir envFrom env volumeMounts volumeDevices terminationMessagePath "
    "terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty targetContainerName"
)
EPHEMERAL_FIELDS = frozenset(_EPHEMERAL.split())


def ephemeral_errors(path: str, container: Tree, others: set[str]) -> list[FieldError]:
    """What an ephemeral container may not have, beside what holds of any."""
    found: list[FieldError] = []
    target = container.get("targetContainerName")
    if target and target not in others:
        found.append(not_found(f"{path}.targetContainerName", target))
    for field, value in container.items():
        if field not in EPHEMERAL_FIELDS and value not in (None, [], {}, ""):
            found.append(forbidden(f"{path}.{field}", "cannot be set for an Ephemeral Container"))
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        for field in ("subPath", "subPathExpr"):
            if mount.get(field):
                where = f"{path}.volumeMounts[{number}].{field}"
                found.append(forbidden(where, "cannot be set for an Ephemeral Container"))
    return found
