"""Controllers of pods that shall run for ever: Deployment, ReplicaSet, DaemonSet; and the revisions they keep.

Stage: none; records and their pure functions.
Truth: kube-apiserver's apis/apps defaults, strategies, validation and printers, recorded answers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api.checks import immutable
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, annotations_of, controller_of, metadata_of, spec_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.pod import default_template
from clusterip.api.pod_warnings import of_template
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import first_generation, keep_status, next_generation, only_status, set_generation
from clusterip.api.tables import AGE, NAME, NONE, at, fixed, labels_text, number, template_columns
from clusterip.api.workload import (
    amount,
    at_most_all,
    counts,
    number_or_percent,
    replica_status_errors,
    replicated_errors,
    selector_errors,
    steady_template_errors,
)

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
SCALE = Subresource(kind="Scale", group="autoscaling", version="v1")


def apps(kind: str, plural: str, *short: str, scales: bool = True, **more: Any) -> Resource:
    """A record of the apps group."""
    return Resource(
        group="apps",
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        short_names=short,
        categories=("all",),
        schema=f"io.k8s.api.apps.v1.{kind}",
        subresources={**({"scale": SCALE} if scales else {}), "status": Subresource(kind=kind)},
        warnings=of_template,
        **{"name_rule": name_is_subdomain, **more},
    )


# --- Deployment ------------------------------------------------------------------------------------------------------


def _default_deployment(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    default_template(spec.setdefault("template", {}))
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def _update_deployment(new: Tree, old: Tree) -> None:
    """Annotations count as a change too: rollbacks once went through them."""
    keep_status(new, old)
    changed = new.get("spec") != old.get("spec") or annotations_of(new) != annotations_of(old)
    set_generation(new, (metadata_of(old).get("generation") or 0) + changed)


def _validate_deployment(tree: Tree) -> list[FieldError]:
    spec = spec_of(tree)
    found = counts("spec", spec, "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    found += replicated_errors(spec)
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and deadline <= ready:
        found.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return found + _deployment_strategy(spec.get("strategy") or {})


def _deployment_strategy(strategy: Tree) -> list[FieldError]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    path = "spec.strategy.rollingUpdate"
    if kind == "Recreate":
        detail = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [forbidden(path, detail)]
    if kind != "RollingUpdate":
        return [not_supported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [required(path, "this should be defaulted and never be nil")]
    surge, unavailable = rolling.get("maxSurge"), rolling.get("maxUnavailable")
    found = number_or_percent(f"{path}.maxUnavailable", unavailable) + number_or_percent(f"{path}.maxSurge", surge)
    if not amount(surge) and not amount(unavailable):
        found.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    return found + at_most_all(f"{path}.maxUnavailable", unavailable)


def _same_selector(new: Tree, old: Tree) -> list[FieldError]:
    return immutable("spec.selector", spec_of(new).get("selector"), spec_of(old).get("selector"))


def _validate_deployment_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate_deployment(new) + _same_selector(new, old)


def _validate_deployment_status(new: Tree, old: Tree) -> list[FieldError]:
    status = new.get("status") or {}
    fields = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    found = replica_status_errors(status, *fields) + counts("status", status, "unavailableReplicas")
    before = (old.get("status") or {}).get("collisionCount")
    if before is not None and (status.get("collisionCount") or 0) < before:
        found.append(invalid("status.collisionCount", status.get("collisionCount"), "cannot be decremented"))
    return found


def _deployment_ready(tree: Tree) -> str:
    return f"{at(tree, 'status', 'readyReplicas') or 0}/{at(tree, 'spec', 'replicas') or 0}"


DEPLOYMENT = apps(
    "Deployment",
    "deployments",
    "deploy",
    columns=(
        NAME,
        Column("Ready", fixed(_deployment_ready), says="Number of the pod with ready state"),
        Column("Up-to-date", number("status", "updatedReplicas"), says="@apps.v1.DeploymentStatus.updatedReplicas"),
        Column("Available", number("status", "availableReplicas"), says="@apps.v1.DeploymentStatus.availableReplicas"),
        AGE,
        *template_columns("@apps.v1.DeploymentSpec.selector"),
    ),
    default=_default_deployment,
    prepare_create=first_generation,
    prepare_update=_update_deployment,
    prepare_status=only_status("labels"),
    validate=_validate_deployment,
    validate_update=_validate_deployment_update,
    validate_status=_validate_deployment_status,
)


# --- ReplicaSet ------------------------------------------------------------------------------------------------------


def _default_replica_set(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    default_template(spec.setdefault("template", {}))
    spec.setdefault("replicas", 1)


def _validate_replica_set(tree: Tree) -> list[FieldError]:
    spec = spec_of(tree)
    found = counts("spec", spec, "replicas", "minReadySeconds")
    return found + replicated_errors(spec)


def _validate_replica_set_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate_replica_set(new) + _same_selector(new, old)


REPLICA_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def _validate_replica_set_status(new: Tree, old: Tree) -> list[FieldError]:
    return replica_status_errors(new.get("status") or {}, *REPLICA_COUNTS)


REPLICA_SET = apps(
    "ReplicaSet",
    "replicasets",
    "rs",
    columns=(
        NAME,
        Column("Desired", number("spec", "replicas"), "integer", says="@apps.v1.ReplicaSetSpec.replicas"),
        Column("Current", number("status", "replicas"), "integer", says="@apps.v1.ReplicaSetStatus.replicas"),
        Column("Ready", number("status", "readyReplicas"), "integer", says="@apps.v1.ReplicaSetStatus.readyReplicas"),
        AGE,
        *template_columns("@apps.v1.ReplicaSetSpec.selector"),
    ),
    default=_default_replica_set,
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    prepare_status=only_status(),
    validate=_validate_replica_set,
    validate_update=_validate_replica_set_update,
    validate_status=_validate_replica_set_status,
    fields={"status.replicas": lambda tree: str(at(tree, "status", "replicas") or 0)},
)


# --- DaemonSet -------------------------------------------------------------------------------------------------------


def _default_daemon_set(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    default_template(spec.setdefault("template", {}))
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    tree.setdefault("metadata", {}).setdefault("annotations", {}).setdefault(TEMPLATE_GENERATION, "0")


def _create_daemon_set(tree: Tree) -> None:
    first_generation(tree)
    given = tree["metadata"]["annotations"][TEMPLATE_GENERATION]
    tree["metadata"]["annotations"][TEMPLATE_GENERATION] = given if given.isdecimal() and int(given) > 0 else "1"


def _update_daemon_set(new: Tree, old: Tree) -> None:
    next_generation("spec")(new, old)
    before = annotations_of(old).get(TEMPLATE_GENERATION, "0")
    changed = spec_of(new).get("template") != spec_of(old).get("template")
    generation = (int(before) if before.isdecimal() else 0) + changed
    new["metadata"].setdefault("annotations", {})[TEMPLATE_GENERATION] = str(generation)


def _validate_daemon_set(tree: Tree) -> list[FieldError]:
    spec = spec_of(tree)
    found = counts("spec", spec, "minReadySeconds", "revisionHistoryLimit")
    if spec.get("selector") is not None:
        found += selector_errors(spec, "daemonset")
    return found + steady_template_errors(spec, "DaemonSet") + _daemon_strategy(spec.get("updateStrategy") or {})


def _daemon_strategy(strategy: Tree) -> list[FieldError]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        shown = {"Type": kind, "RollingUpdate": rolling}
        return [not_supported("spec.updateStrategy", shown, ("RollingUpdate", "OnDelete"))]
    path = "spec.updateStrategy.rollingUpdate"
    if rolling is None:
        return [required(path)]
    surge, unavailable = rolling.get("maxSurge"), rolling.get("maxUnavailable")
    found = number_or_percent(f"{path}.maxUnavailable", unavailable) + number_or_percent(f"{path}.maxSurge", surge)
    if amount(surge) and amount(unavailable):
        found.append(invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    elif not amount(surge) and not amount(unavailable):
        found.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return found + at_most_all(f"{path}.maxUnavailable", unavailable) + at_most_all(f"{path}.maxSurge", surge)


def _validate_daemon_set_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate_daemon_set(new) + _same_selector(new, old)


DAEMON_COUNTS = (
    ("Desired", "desiredNumberScheduled"),
    ("Current", "currentNumberScheduled"),
    ("Ready", "numberReady"),
    ("Up-to-date", "updatedNumberScheduled"),
    ("Available", "numberAvailable"),
)


def _validate_daemon_set_status(new: Tree, old: Tree) -> list[FieldError]:
    fields = [field for _name, field in DAEMON_COUNTS]
    return counts("status", new.get("status") or {}, *fields, "numberMisscheduled", "numberUnavailable")


DAEMON_SET = apps(
    "DaemonSet",
    "daemonsets",
    "ds",
    scales=False,
    columns=(
        NAME,
        *(
            Column(name, number("status", field), "integer", says=f"@apps.v1.DaemonSetStatus.{field}")
            for name, field in DAEMON_COUNTS
        ),
        Column(
            "Node Selector",
            fixed(lambda tree: labels_text(at(tree, "spec", "template", "spec", "nodeSelector"))),
            says="@core.v1.PodSpec.nodeSelector",
        ),
        AGE,
        *template_columns("@apps.v1.DaemonSetSpec.selector"),
    ),
    inner_annotations=frozenset({TEMPLATE_GENERATION}),
    default=_default_daemon_set,
    prepare_create=_create_daemon_set,
    prepare_update=_update_daemon_set,
    prepare_status=only_status(),
    validate=_validate_daemon_set,
    validate_update=_validate_daemon_set_update,
    validate_status=_validate_daemon_set_status,
)


# --- ControllerRevision ----------------------------------------------------------------------------------------------


def _validate_revision(tree: Tree) -> list[FieldError]:
    found = counts("", tree, "revision")
    if tree.get("data") is None:
        found.append(required("data", "data is mandatory"))
    return found


def _validate_revision_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate_revision(new) + immutable("data", new.get("data"), old.get("data"))


def _controller(tree: Tree) -> str:
    owner = controller_of(tree)
    if owner is None:
        return NONE
    group = str(owner.get("apiVersion", "")).rpartition("/")[0]
    kind = str(owner.get("kind", "")).lower()
    return f"{kind}.{group}/{owner.get('name', '')}" if group else f"{kind}/{owner.get('name', '')}"


CONTROLLER_REVISION = Resource(
    group="apps",
    version="v1",
    kind="ControllerRevision",
    plural="controllerrevisions",
    singular="controllerrevision",
    schema="io.k8s.api.apps.v1.ControllerRevision",
    columns=(
        NAME,
        Column("Controller", fixed(_controller), says="Controller of the object"),
        Column("Revision", number("revision"), says="@apps.v1.ControllerRevision.revision"),
        AGE,
    ),
    validate=_validate_revision,
    validate_update=_validate_revision_update,
    name_rule=name_is_subdomain,
)
