"""PodSecurity: what the labels of a namespace ask of the pods in it.

Stage: decide, inside the write path.  In: a pod, or what has a template of one.  Out: nothing, a warning, or 403.
Rules: templates are warned of, never refused; a change of a pod counts when an image is new or a container came.
Truth: pod-security-admission's admission package of 1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clusterip.api import pod_security
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, name_of
from clusterip.apiserver.core import Call, Core, pick
from clusterip.apiserver.writes import Transaction

LABEL: Final = "pod-security.kubernetes.io/"
TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "podtemplates": ("template",),
    "replicationcontrollers": ("spec", "template"),
    "deployments.apps": ("spec", "template"),
    "replicasets.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
}
WRITTEN: Final = ("", "ephemeralcontainers")


def check(core: Core, call: Call, transaction: Transaction, new: Tree, old: Tree | None) -> None:
    """Refuse a pod, or warn of it, as its namespace asks."""
    qualified = call.served.resource.qualified
    is_pod = qualified == "pods"
    if not (is_pod and call.subresource in WRITTEN) and not (qualified in TEMPLATES and not call.subresource):
        return
    labels = _labels(core, call, transaction)
    if is_pod:
        call.audited[f"{LABEL}enforce-policy"] = ":".join(_wanted(labels, "enforce"))
    if not any(key.startswith(LABEL) for key in labels) or (is_pod and old is not None and not _is_new(new, old)):
        return
    subject = new if is_pod else pick(new, *TEMPLATES[qualified])
    if subject is None:
        return
    metadata, spec = subject.get("metadata") or {}, subject.get("spec") or {}
    if noticed := _found(labels, "audit", metadata, spec):
        call.audited[f"{LABEL}audit-violations"] = f"would violate PodSecurity {noticed}"
    if is_pod:
        refused = _found(labels, "enforce", metadata, spec)
        if refused:
            raise ApiError.forbidden("", "pods", name_of(new), f"violates PodSecurity {refused}")
    warned = _found(labels, "warn", metadata, spec)
    if warned:
        call.warnings.append(f"would violate PodSecurity {warned}")


def _labels(core: Core, call: Call, transaction: Transaction) -> Mapping[str, str]:
    namespaces = core.registry.of("namespaces")
    entry = transaction.get(namespaces, call.namespace) if namespaces is not None else None
    return entry.labels if entry is not None else {}


def _found(labels: Mapping[str, str], mode: str, metadata: Tree, spec: Tree) -> str:
    """The level with what it forbids; "" for nothing. A level that is none is taken for the strictest."""
    wanted, version = _wanted(labels, mode)
    if wanted == "privileged":
        return ""
    found = pod_security.problems(wanted, metadata, spec)
    return f'"{wanted}:{version}": {pod_security.told(found)}' if found else ""


def _wanted(labels: Mapping[str, str], mode: str) -> tuple[str, str]:
    """The level and the version of a mode."""
    level = labels.get(f"{LABEL}{mode}") or "privileged"
    return level if level in pod_security.LEVELS else "restricted", labels.get(f"{LABEL}{mode}-version", "latest")


def _is_new(new: Tree, old: Tree) -> bool:
    """Whether a container came, or has another image."""
    images = [
        {each.get("name"): each.get("image") for kind in KINDS for each in pick(tree, "spec", kind) or ()}
        for tree in (new, old)
    ]
    return images[0] != images[1]


KINDS: Final = ("containers", "initContainers", "ephemeralContainers")
