"""StatefulSet: pods with names that stay.

Stage: none; a record and its pure functions.
Truth: kube-apiserver's apis/apps defaults, strategy, validation and printer, recorded answers of 1.36.
"""

from __future__ import annotations

from clusterip.api.checks import each, supported
from clusterip.api.errors import FieldError, forbidden, invalid, required
from clusterip.api.meta import Tree, copied, name_of, spec_of
from clusterip.api.names import label, name_is_label
from clusterip.api.pod import default_template
from clusterip.api.resource import Column
from clusterip.api.resources.apps import apps
from clusterip.api.resources.volumes import claim_errors
from clusterip.api.strategy import first_generation, next_generation, only_status
from clusterip.api.tables import AGE, CONTAINERS, IMAGES, NAME, at, fixed
from clusterip.api.workload import (
    at_most_all,
    counts,
    number_or_percent,
    replica_status_errors,
    selector_errors,
    steady_template_errors,
)

RETENTIONS = ("Retain", "Delete")
CHANGEABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
FIXED = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def _default(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    default_template(spec.setdefault("template", {}))
    spec["podManagementPolicy"] = spec.get("podManagementPolicy") or "OrderedReady"
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        strategy["rollingUpdate"].setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    for field in ("whenDeleted", "whenScaled"):
        retention[field] = retention.get(field) or "Retain"
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        claim.setdefault("status", {})["phase"] = (claim.get("status") or {}).get("phase") or "Pending"


def _validate(tree: Tree) -> list[FieldError]:
    found = _errors(tree)
    for path, claim in each("spec.volumeClaimTemplates", spec_of(tree).get("volumeClaimTemplates")):
        found += claim_errors(f"{path}.spec", claim.get("spec") or {})
    return found


def _errors(tree: Tree) -> list[FieldError]:
    """What is judged at every write; claims cannot change."""
    spec = spec_of(tree)
    found = _policy(spec.get("podManagementPolicy")) + _strategy(spec.get("updateStrategy") or {})
    found += _retention(spec.get("persistentVolumeClaimRetentionPolicy") or {})
    found += counts("spec", spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    found += counts("spec.ordinals", spec.get("ordinals") or {}, "start")
    if name := spec.get("serviceName"):
        found += [invalid("spec.serviceName", name, reason) for reason in label(name)]
    found += selector_errors(spec, "statefulset")
    return found + steady_template_errors(_as_pods_see_it(spec), "StatefulSet")


def _as_pods_see_it(spec: Tree) -> Tree:
    """The spec with the volumes that its claims will be, and without the names that its pods get anyway."""
    claims = list(dict.fromkeys(name_of(claim) for claim in spec.get("volumeClaimTemplates") or ()))
    template = spec.get("template") or {}
    pod = {name: value for name, value in (template.get("spec") or {}).items() if name not in ("hostname", "subdomain")}
    own = [volume for volume in pod.get("volumes") or () if volume.get("name") not in claims]
    made: list[Tree] = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    return {**spec, "template": {**template, "spec": {**pod, "volumes": made + own}}}


def _policy(policy: str | None) -> list[FieldError]:
    if not policy:
        return [required("spec.podManagementPolicy")]
    if policy not in ("OrderedReady", "Parallel"):
        return [invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")]
    return []


def _strategy(strategy: Tree) -> list[FieldError]:
    kind, rolling, path = strategy.get("type"), strategy.get("rollingUpdate"), "spec.updateStrategy"
    if not kind:
        return [required(path)]
    if kind == "OnDelete":
        if rolling is None:
            return []
        return [invalid(f"{path}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")]
    if kind != "RollingUpdate":
        return [invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")]
    return _rolling(f"{path}.rollingUpdate", rolling or {})


def _rolling(path: str, rolling: Tree) -> list[FieldError]:
    found = counts(path, rolling, "partition")
    unavailable = rolling.get("maxUnavailable")
    if unavailable is None:
        return found
    found += number_or_percent(f"{path}.maxUnavailable", unavailable)
    if unavailable in (0, "0%"):
        found.append(invalid(f"{path}.maxUnavailable", unavailable, "cannot be 0"))
    return found + at_most_all(f"{path}.maxUnavailable", unavailable)


def _retention(policy: Tree) -> list[FieldError]:
    path = "spec.persistentVolumeClaimRetentionPolicy"
    return [
        error
        for field in ("whenDeleted", "whenScaled")
        for error in supported(f"{path}.{field}", policy.get(field), RETENTIONS)
    ]


def _validate_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _errors(new)
    same = copied(spec_of(new))
    for field in CHANGEABLE:
        same.pop(field, None)
    before = {field: value for field, value in spec_of(old).items() if field not in CHANGEABLE}
    if same != before:
        found.append(forbidden("spec", FIXED))
    return found


def _validate_status(new: Tree, old: Tree) -> list[FieldError]:
    status = new.get("status") or {}
    fields = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    return replica_status_errors(status, *fields) + counts("status", status, "collisionCount")


def _ready(tree: Tree) -> str:
    return f"{at(tree, 'status', 'readyReplicas') or 0}/{at(tree, 'spec', 'replicas') or 0}"


STATEFUL_SET = apps(
    "StatefulSet",
    "statefulsets",
    "sts",
    name_rule=name_is_label,
    columns=(
        NAME,
        Column("Ready", fixed(_ready), says="Number of the pod with ready state"),
        AGE,
        CONTAINERS,
        IMAGES,
    ),
    default=_default,
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    prepare_status=only_status(),
    validate=_validate,
    validate_update=_validate_update,
    validate_status=_validate_status,
)
