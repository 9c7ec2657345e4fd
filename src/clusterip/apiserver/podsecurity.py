"""PodSecurity: what the labels of a namespace ask of the pods in it.

Stage: decide, inside the write path.  In: a pod, or what has a template of one.  Out: nothing, a warning, or 403.
Rules: labels of a namespace that mean nothing are refused; templates are warned of, never refused; a change of a pod
       counts when an image is new or a container came.
Truth: pod-security-admission's admission package of 1.36.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from clusterip.api import pod_security
from clusterip.api.errors import ApiError, FieldError, invalid
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
MODES: Final = ("enforce", "audit", "warn")
VERSION: Final = re.compile(r"v1\.([0-9]|[1-9][0-9]*)")
MOST_PODS: Final = 3000


def check(core: Core, call: Call, transaction: Transaction, new: Tree, old: Tree | None) -> None:
    """Refuse a pod, or warn of it, as its namespace asks."""
    qualified = call.served.resource.qualified
    if qualified == "namespaces" and not call.subresource:
        check_labels(core, call, new, old)
        return
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
    """The level and the version of a mode; who enforces a level is warned by it, unless the labels say otherwise."""
    level, version = labels.get(f"{LABEL}{mode}"), labels.get(f"{LABEL}{mode}-version")
    if level is None and mode == "warn" and (enforced := labels.get(f"{LABEL}enforce")) in pod_security.LEVELS:
        level, version = enforced, version or labels.get(f"{LABEL}enforce-version")
    if level not in (None, *pod_security.LEVELS):
        level = "restricted" if mode == "enforce" else "privileged"
    return level or "privileged", version or "latest"


# --- namespaces ------------------------------------------------------------------------------------------------------


def check_labels(core: Core, call: Call, new: Tree, old: Tree | None) -> None:
    """Labels mean something; who asks more of pods is told which of those that are there do not do so."""
    labels, before = (_labels_of(tree) for tree in (new, old or {}))
    wrong = label_errors(labels)
    if wrong and (old is None or [*map(str, wrong)] != [*map(str, label_errors(before))]):
        raise ApiError.invalid("", "Namespace", name_of(new), wrong)
    if old is None:
        return
    (level, version), former = _wanted(labels, "enforce"), _wanted(before, "enforce")
    rank = pod_security.LEVELS.index
    if level == "privileged" or (level, version) == former:
        return
    if version == former[1] and rank(level) <= rank(former[0]):
        return
    call.warnings += existing(core, name_of(new), level, version)


def _labels_of(tree: Tree) -> Mapping[str, str]:
    found: Mapping[str, str] = pick(tree, "metadata", "labels") or {}
    return found


def label_errors(labels: Mapping[str, str]) -> list[FieldError]:
    """What is no level, and what is no version."""
    found = []
    for mode in MODES:
        level, version = (labels.get(f"{LABEL}{mode}{part}") for part in ("", "-version"))
        if level is not None and level not in pod_security.LEVELS:
            why = f"must be one of {', '.join(pod_security.LEVELS)}"
            found.append(invalid(f"metadata.labels[{LABEL}{mode}]", level, why))
        if version is not None and version != "latest" and not VERSION.fullmatch(version):
            why = 'must be "latest" or "v1.x"'
            found.append(invalid(f"metadata.labels[{LABEL}{mode}-version]", version, why))
    return found


def existing(core: Core, namespace: str, level: str, version: str) -> list[str]:
    """Warnings of pods that a level forbids: by what is wrong, one pod with the number of the others."""
    pods = core.registry.of("pods")
    trees = [entry.tree() for entry in pods.select(namespace)] if pods is not None else []
    looked = prioritized(trees)[:MOST_PODS]
    by_reason: dict[str, list[str]] = {}
    for tree in looked:
        problems = pod_security.problems(level, tree["metadata"], tree.get("spec") or {})
        if reasons := ", ".join(reason for reason, _ in problems):
            by_reason.setdefault(reasons, []).append(name_of(tree))
    found = []
    if len(looked) < len(trees):
        some = f"the first {len(looked)} of {len(trees)} existing pods"
        found.append(f"new PodSecurity enforce level only checked against {some}")
    if by_reason:
        where = f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level'
        found.append(f'{where} "{level}:{version}"')
    return found + sorted(_counted(names, reasons) for reasons, names in by_reason.items())


def prioritized(pods: list[Tree]) -> list[Tree]:
    """One pod of each controller first: its others are alike."""
    seen: set[str] = set()
    first: list[Tree] = []
    later: list[Tree] = []
    for pod in pods:
        owner = next(
            (each["uid"] for each in pod["metadata"].get("ownerReferences") or () if each.get("controller")), ""
        )
        (later if owner in seen else first).append(pod)
        seen |= {owner} if owner else set()
    return first + later


def _counted(names: list[str], reasons: str) -> str:
    others = len(names) - 1
    more = f" (and {others} other pod{'s' if others > 1 else ''})" if others else ""
    return f"{min(names)}{more}: {reasons}"


def _is_new(new: Tree, old: Tree) -> bool:
    """Whether a container came, or has another image."""
    images = [
        {each.get("name"): each.get("image") for kind in KINDS for each in pick(tree, "spec", kind) or ()}
        for tree in (new, old)
    ]
    return images[0] != images[1]


KINDS: Final = ("containers", "initContainers", "ephemeralContainers")
