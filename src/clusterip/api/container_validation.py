"""What is wrong with a container: its image, ports, mounts, security, and what other modules say of its parts.

Stage: none; pure checks.  In: a defaulted container and its path.  Out: field errors, in upstream's words.
Truth: kube-apiserver's apis/core/validation, recorded answers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import names
from clusterip.api.checks import each, reasons, supported
from clusterip.api.environment_validation import environment_errors, environment_from_errors
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, not_found, not_supported, required
from clusterip.api.meta import Tree
from clusterip.api.probe_validation import handler_errors
from clusterip.api.resource_validation import resource_errors

PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
MAX_ID = 2**31 - 1


def container_errors(path: str, container: Tree, volumes: frozenset[str], grace: Any) -> list[FieldError]:
    """All that can be said of one container alone."""
    found = _name(path, container) + _image(path, container)
    found += supported(f"{path}.terminationMessagePolicy", container.get("terminationMessagePolicy"), MESSAGE_POLICIES)
    found += supported(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES)
    found += _ports(f"{path}.ports", container.get("ports") or [])
    found += environment_errors(f"{path}.env", container.get("env") or [])
    found += environment_from_errors(f"{path}.envFrom", container.get("envFrom") or [])
    found += _mounts(f"{path}.volumeMounts", container.get("volumeMounts") or [], volumes)
    found += resource_errors(f"{path}.resources", container.get("resources") or {})
    found += security_errors(f"{path}.securityContext", container.get("securityContext") or {})
    for name in ("postStart", "preStop"):
        if (action := (container.get("lifecycle") or {}).get(name)) is not None:
            found += handler_errors(f"{path}.lifecycle.{name}", action, grace)
    return found


def resize_errors(path: str, policies: list[Tree], restart: str) -> list[FieldError]:
    """What happens to a container that is given more or less; upstream names no index but for what is there twice."""
    found = []
    seen: set[str] = set()
    for where, policy in each(path, policies):
        name, action = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        found += [duplicate(where, name)] if name in seen else []
        found += supported(path, name, ("cpu", "memory"))
        found += supported(path, action, ("NotRequired", "RestartContainer"))
        if restart == "Never" and action != "NotRequired":
            found.append(invalid(path, action, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
        seen.add(name)
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


# --- security ---------------------------------------------------------------------------------------------------------


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
    if not kind:
        return [required(f"{path}.type", "type is required when seccompProfile is set")]
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
