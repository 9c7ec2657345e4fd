"""ReplicationController, PodTemplate and ComponentStatus: the core group's elder kinds. Nothing here acts on them.

Stage: none; records and their pure functions.
Truth: kube-apiserver's core/v1 defaults, strategies, validation and printers of 1.36.
"""

from __future__ import annotations

from clusterip.api.errors import FieldError, invalid, required
from clusterip.api.meta import Tree, labels_of, spec_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.pod import default_template
from clusterip.api.pod_validation import template_errors
from clusterip.api.pod_warnings import of_template
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.resources.apps import SCALE
from clusterip.api.resources.core import core
from clusterip.api.strategy import first_generation, next_generation, only_status
from clusterip.api.tables import AGE, NAME, at, fixed, labels_text, number
from clusterip.api.workload import counts, replica_status_errors, steady_template_errors

REPLICAS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def _default_controller(tree: Tree) -> None:
    """Selector and labels are those of the template where nothing else is said."""
    spec = tree.setdefault("spec", {})
    template = spec.get("template")
    if template is not None:
        default_template(template)
        labels = labels_of(template)
        if labels and not spec.get("selector"):
            spec["selector"] = dict(labels)
        if labels and not labels_of(tree):
            tree.setdefault("metadata", {})["labels"] = dict(labels)
    spec.setdefault("replicas", 1)


def _validate_controller(tree: Tree) -> list[FieldError]:
    spec = spec_of(tree)
    found = counts("spec", spec, "minReadySeconds")
    selector, template = spec.get("selector") or {}, spec.get("template")
    if not selector:
        found.append(required("spec.selector"))
    found += counts("spec", spec, "replicas")
    if template is None:
        return [*found, required("spec.template")]
    return found + _matching(selector, spec)


def _matching(selector: Tree, spec: Tree) -> list[FieldError]:
    labels = labels_of(spec["template"])
    found = []
    if any(labels.get(key) != value for key, value in selector.items()):
        why = "`selector` does not match template `labels`"
        found.append(invalid("spec.template.metadata.labels", labels or None, why))
    unselected = {**spec, "selector": {"matchLabels": labels}}
    return found + steady_template_errors(unselected, "ReplicationController")


def _validate_status(new: Tree, old: Tree) -> list[FieldError]:
    return replica_status_errors(new.get("status") or {}, *REPLICAS)


def _containers(*path: str) -> tuple[Column, ...]:
    """Names and images of a template's containers."""

    def cell(field: str) -> Column:
        says = {"name": "Names of each container in the template."}
        text = says.get(field, "Images referenced by each container in the template.")
        read = fixed(
            lambda tree: ",".join(str(c.get(field) or "") for c in at(tree, *path, "spec", "containers") or ())
        )
        return Column("Containers" if field == "name" else "Images", read, says=text)

    return cell("name"), cell("image")


def _wide(column: Column) -> Column:
    return Column(column.name, column.cell, column.type, column.format, column.says, 1)


REPLICATION_CONTROLLER: Resource = core(
    "ReplicationController",
    "replicationcontrollers",
    "rc",
    categories=("all",),
    columns=(
        NAME,
        Column("Desired", number("spec", "replicas"), "integer", says="@core.v1.ReplicationControllerSpec.replicas"),
        Column(
            "Current", number("status", "replicas"), "integer", says="@core.v1.ReplicationControllerStatus.replicas"
        ),
        Column(
            "Ready",
            number("status", "readyReplicas"),
            "integer",
            says="@core.v1.ReplicationControllerStatus.readyReplicas",
        ),
        AGE,
        *map(_wide, _containers("spec", "template")),
        Column(
            "Selector",
            fixed(lambda tree: labels_text(at(tree, "spec", "selector"))),
            says="@core.v1.ReplicationControllerSpec.selector",
            priority=1,
        ),
    ),
    subresources={"scale": SCALE, "status": Subresource(kind="ReplicationController")},
    default=_default_controller,
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    prepare_status=only_status(),
    validate=_validate_controller,
    validate_update=lambda new, old: _validate_controller(new),
    validate_status=_validate_status,
    whole_update=True,
    name_rule=name_is_subdomain,
    warnings=of_template,
    fields={"status.replicas": lambda tree: str(at(tree, "status", "replicas") or 0)},
)


def _default_pod_template(tree: Tree) -> None:
    default_template(tree.setdefault("template", {}))


def _validate_pod_template(tree: Tree) -> list[FieldError]:
    return template_errors("template", tree.get("template") or {})


def _prepare_pod_template(tree: Tree) -> None:
    tree.setdefault("metadata", {})["generation"] = 1


POD_TEMPLATE = core(
    "PodTemplate",
    "podtemplates",
    columns=(
        NAME,
        *_containers("template"),
        Column(
            "Pod Labels",
            fixed(lambda tree: labels_text(labels_of(tree.get("template") or {}))),
            says="The labels for the pod template.",
        ),
    ),
    default=_default_pod_template,
    prepare_create=_prepare_pod_template,
    prepare_update=next_generation("template"),
    validate=_validate_pod_template,
    validate_update=lambda new, old: _validate_pod_template(new),
    whole_update=True,
    name_rule=name_is_subdomain,
)
DEPRECATED_STATUS = "v1 ComponentStatus is deprecated in v1.19+"


def _healthy(field: str, otherwise: str = "") -> Column:
    def cell(tree: Tree) -> str:
        for condition in tree.get("conditions") or ():
            if condition.get("type") == "Healthy":
                if field == "status":
                    return {"True": "Healthy", "False": "Unhealthy"}.get(condition.get("status") or "", "Unknown")
                return str(condition.get(field) or "")
        return otherwise

    return Column(field.title(), fixed(cell), says=f"{field.title()} of the component conditions")


COMPONENT_STATUS = core(
    "ComponentStatus",
    "componentstatuses",
    "cs",
    namespaced=False,
    singular="componentstatus",
    verbs=("get", "list"),
    columns=(NAME, _healthy("status", "Unknown"), _healthy("message"), _healthy("error")),
    deprecation=DEPRECATED_STATUS,
)
