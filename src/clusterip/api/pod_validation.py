"""What is wrong with a Pod or a template of one, and with a change of a Pod.

Stage: none; pure checks.  In: defaulted trees.  Out: field errors, in upstream's words.
Truth: kube-apiserver's apis/core/validation, recorded answers of 1.36.
"""

from __future__ import annotations

import re
from typing import Any, Final

from clusterip.api import names
from clusterip.api.checks import each, label_map, reasons, supported
from clusterip.api.container_validation import (
    MAX_ID,
    container_errors,
    ephemeral_errors,
    host_port_errors,
    resize_errors,
)
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, copied, metadata_of, spec_of
from clusterip.api.pod import is_sidecar
from clusterip.api.probe_validation import probe_errors
from clusterip.api.resource_validation import resource_errors
from clusterip.api.scheduling_validation import affinity_errors, spread_errors, toleration_errors
from clusterip.api.volume_validation import volume_errors, volume_names

LONGEST_SYSCTL: Final = 253
SYSCTL: Final = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
BAD_SYSCTL: Final = f"must have at most {LONGEST_SYSCTL} characters and match regex ^{SYSCTL.pattern}$"
RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate(pod: Tree) -> list[FieldError]:
    return spec_errors("spec", spec_of(pod)) + _annotations(pod)


def template_errors(path: str, template: Tree) -> list[FieldError]:
    """A pod that is not one yet."""
    meta = metadata_of(template)
    found = label_map(f"{path}.labels", meta.get("labels") or {})
    for key in meta.get("annotations") or {}:
        found += [invalid(f"{path}.annotations", key, reason) for reason in names.qualified_name(key.lower())]
    spec = template.get("spec") or {}
    if spec.get("ephemeralContainers"):
        found.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return found + spec_errors(f"{path}.spec", spec)


def _annotations(pod: Tree) -> list[FieldError]:
    annotations = metadata_of(pod).get("annotations") or {}
    key = "kubernetes.io/config.mirror"
    if key in annotations and not spec_of(pod).get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        return [invalid(f"metadata.annotations[{key}]", annotations[key], detail)]
    return []


def spec_errors(path: str, spec: Tree) -> list[FieldError]:
    volumes = spec.get("volumes") or []
    return [
        *volume_errors(f"{path}.volumes", volumes),
        *_containers(path, spec, volume_names(volumes)),
        *supported(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES),
        *supported(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES),
        *label_map(f"{path}.nodeSelector", spec.get("nodeSelector") or {}),
        *_security(f"{path}.securityContext", spec.get("securityContext") or {}),
        *_dns(path, spec),
        *toleration_errors(f"{path}.tolerations", spec.get("tolerations") or []),
        *_host_aliases(f"{path}.hostAliases", spec.get("hostAliases") or []),
        *_names(path, spec),
        *affinity_errors(f"{path}.affinity", spec.get("affinity") or {}),
        *spread_errors(f"{path}.topologySpreadConstraints", spec.get("topologySpreadConstraints") or []),
        *resource_errors(f"{path}.resources", spec.get("resources") or {}),
        *_deadline(path, spec),
    ]


# --- containers ------------------------------------------------------------------------------------------------------


def _containers(path: str, spec: Tree, volumes: frozenset[str]) -> list[FieldError]:
    containers, init = spec.get("containers") or [], spec.get("initContainers") or []
    if not containers:
        return [required(f"{path}.containers")]
    grace = spec.get("terminationGracePeriodSeconds")
    found = []
    seen: set[str] = set()
    for where, container in each(f"{path}.containers", containers):
        found += container_errors(where, container, volumes, grace) + probe_errors(where, container, grace)
        found += _seen(where, container, seen)
    for where, container in each(f"{path}.initContainers", init):
        found += container_errors(where, container, volumes, grace)
        found += _init_container(where, container, grace) + _seen(where, container, seen)
    for where, container in (*each(f"{path}.containers", containers), *each(f"{path}.initContainers", init)):
        restart = container.get("restartPolicy") or spec.get("restartPolicy") or ""
        found += resize_errors(f"{where}.resizePolicy", container.get("resizePolicy") or [], restart)
    others = set(seen)
    for where, container in each(f"{path}.ephemeralContainers", spec.get("ephemeralContainers")):
        found += container_errors(where, container, volumes, grace) + _seen(where, container, seen)
        found += ephemeral_errors(where, container, others)
    host = bool(spec.get("hostNetwork"))
    found += host_port_errors(f"{path}.containers", containers, host)
    return found + host_port_errors(f"{path}.initContainers", init, host)


def _seen(path: str, container: Tree, seen: set[str]) -> list[FieldError]:
    name = container.get("name") or ""
    found = [duplicate(f"{path}.name", name)] if name in seen and name else []
    seen.add(name)
    return found


def _init_container(path: str, container: Tree, grace: Any) -> list[FieldError]:
    policy = container.get("restartPolicy")
    if is_sidecar(container):
        return probe_errors(path, container, grace)
    found = []
    if policy is not None and policy not in RESTART_POLICIES:
        found.append(not_supported(f"{path}.restartPolicy", policy, RESTART_POLICIES))
    for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            detail = "may not be set for init containers without restartPolicy=Always"
            found.append(forbidden(f"{path}.{field}", detail))
    return found


# --- the rest of a spec ----------------------------------------------------------------------------------------------


def _names(path: str, spec: Tree) -> list[FieldError]:
    checks = (
        ("serviceAccountName", names.subdomain),
        ("nodeName", names.subdomain),
        ("hostname", names.label),
        ("subdomain", names.label),
        ("priorityClassName", names.subdomain),
        ("runtimeClassName", names.subdomain),
        ("schedulerName", names.subdomain),
    )
    found = []
    for field, check in checks:
        if spec.get(field):
            found += reasons(f"{path}.{field}", spec[field], check)
    for where, gate in each(f"{path}.readinessGates", spec.get("readinessGates")):
        found += reasons(f"{where}.conditionType", gate.get("conditionType") or "", names.qualified_name)
    for where, gate in each(f"{path}.schedulingGates", spec.get("schedulingGates")):
        found += reasons(where, gate.get("name") or "", names.qualified_name)
    return found


def _deadline(path: str, spec: Tree) -> list[FieldError]:
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is None or 1 <= seconds <= MAX_ID:
        return []
    return [invalid(f"{path}.activeDeadlineSeconds", seconds, names.within(1, MAX_ID))]


def _security(path: str, context: Tree) -> list[FieldError]:
    found = []
    for field in ("fsGroup", "runAsUser", "runAsGroup"):
        number = context.get(field)
        if number is not None and not 0 <= number <= MAX_ID:
            found.append(invalid(f"{path}.{field}", number, names.within(0, MAX_ID)))
    for where, number in each(f"{path}.supplementalGroups", context.get("supplementalGroups")):
        if not 0 <= number <= MAX_ID:
            found.append(invalid(where, number, names.within(0, MAX_ID)))
    policy = context.get("fsGroupChangePolicy")
    if policy is not None and policy not in ("Always", "OnRootMismatch"):
        found.append(not_supported(f"{path}.fsGroupChangePolicy", policy, ("Always", "OnRootMismatch")))
    return found + _sysctls(f"{path}.sysctls", context.get("sysctls") or [])


def _sysctls(path: str, sysctls: list[Tree]) -> list[FieldError]:
    found = []
    seen: set[str] = set()
    for where, sysctl in each(path, sysctls):
        name = sysctl.get("name") or ""
        if not name:
            found.append(required(f"{where}.name"))
        elif len(name) > LONGEST_SYSCTL or not SYSCTL.fullmatch(name):
            found.append(invalid(f"{where}.name", name, BAD_SYSCTL))
        elif name in seen:
            found.append(duplicate(f"{where}.name", name))
        seen.add(name)
    return found


def _dns(path: str, spec: Tree) -> list[FieldError]:
    config = spec.get("dnsConfig") or {}
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    found = []
    if spec.get("dnsPolicy") == "None":
        if spec.get("dnsConfig") is None:
            detail = "must provide `dnsConfig` when `dnsPolicy` is None"
            return [required(f"{path}.dnsConfig", detail)]
        if not servers:
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{path}.dnsConfig.nameservers", detail)]
    if len(servers) > 3:
        detail = "must not have more than 3 nameservers"
        found.append(invalid(f"{path}.dnsConfig.nameservers", servers, detail))
    for where, server in each(f"{path}.dnsConfig.nameservers", servers):
        found += reasons(where, server, names.address)
    if len(searches) > 32:
        found.append(invalid(f"{path}.dnsConfig.searches", searches, "must not have more than 32 search paths"))
    for where, search in each(f"{path}.dnsConfig.searches", searches):
        if search != ".":
            found += reasons(where, search, lambda text: names.subdomain(text.removesuffix(".").replace("_", "a")))
    for where, option in each(f"{path}.dnsConfig.options", config.get("options")):
        if not option.get("name"):
            found.append(required(where, "must not be empty"))
    return found


def _host_aliases(path: str, aliases: list[Tree]) -> list[FieldError]:
    found = []
    for where, alias in each(path, aliases):
        found += reasons(f"{where}.ip", alias.get("ip") or "", names.address)
        for host in alias.get("hostnames") or ():
            found += reasons(f"{where}.hostnames", host, names.subdomain)
    return found


# --- changes ---------------------------------------------------------------------------------------------------------


def validate_update(new: Tree, old: Tree) -> list[FieldError]:
    """Of a pod's spec few fields may change."""
    spec, before = spec_of(new), spec_of(old)
    if spec is before:  # the very same: it was judged when it was written
        return _annotations(new)
    found = validate(new)
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or ()) != len(before.get(field) or ()):
            return [*found, forbidden(f"spec.{field}", f"pod updates may not add or remove {_spoken(field)}")]
    found += _deadline_update(spec, before)
    found += _tolerations_update(spec.get("tolerations") or [], before.get("tolerations") or [])
    found += _gates_update(spec.get("schedulingGates") or [], before.get("schedulingGates") or [])
    if _without_changeable(spec, before) != before:
        found.append(forbidden("spec", CHANGEABLE))
    return found


def _spoken(field: str) -> str:
    return "containers" if field == "containers" else "init containers"


def _without_changeable(spec: Tree, before: Tree) -> Tree:
    """The new spec with the old values wherever a change is allowed."""
    kept: Tree = copied(spec)
    for field in ("containers", "initContainers"):
        for container, former in zip(kept.get(field) or (), before.get(field) or (), strict=True):
            container["image"] = former.get("image")
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        kept.pop(field, None)
        if field in before:
            kept[field] = before[field]
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and kept.get("terminationGracePeriodSeconds") == 1:
        kept["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"]
    if before.get("schedulingGates"):
        for field in ("nodeSelector", "affinity"):
            kept.pop(field, None)
            if field in before:
                kept[field] = before[field]
    return kept


def _deadline_update(spec: Tree, before: Tree) -> list[FieldError]:
    new, old = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    path = "spec.activeDeadlineSeconds"
    if old is None:
        return []
    if new is None:
        return [invalid(path, new, "must not update from a positive integer to nil value")]
    return [invalid(path, new, "must be less than or equal to previous value")] if new > old else []


def _tolerations_update(new: list[Tree], old: list[Tree]) -> list[FieldError]:
    without = [{k: v for k, v in t.items() if k != "tolerationSeconds"} for t in new]
    for toleration in old:
        if {k: v for k, v in toleration.items() if k != "tolerationSeconds"} not in without:
            detail = "existing toleration can not be modified except its tolerationSeconds"
            return [forbidden("spec.tolerations", detail)]
    return []


def _gates_update(new: list[Tree], old: list[Tree]) -> list[FieldError]:
    known = [gate.get("name") for gate in old]
    added = [gate.get("name") for gate in new if gate.get("name") not in known]
    if not added:
        return []
    return [forbidden("spec.schedulingGates", f"only deletion is allowed, but found new scheduling gate '{added[0]}'")]


def validate_status(new: Tree, old: Tree) -> list[FieldError]:
    status, before = new.get("status") or {}, old.get("status") or {}
    found = []
    if before.get("qosClass") and status.get("qosClass") != before["qosClass"]:
        found.append(invalid("status.qosClass", status.get("qosClass"), names.IMMUTABLE))
    nominated = status.get("nominatedNodeName")
    if nominated:
        found += reasons("status.nominatedNodeName", nominated, names.subdomain)
    for where, entry in each("status.podIPs", status.get("podIPs")):
        found += reasons(where, entry.get("ip") or "", names.address)
    return found
