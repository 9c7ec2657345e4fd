"""What the controllers of pods have in common: a selector, a template, a number of pods, a way to roll out.

Stage: none; pure checks.  In: parts of a spec with their paths.  Out: field errors.
Truth: kube-apiserver's apis/apps/validation, recorded answers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import names
from clusterip.api.checks import label_selector, not_negative, reasons, selects_everything
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, labels_of, metadata_of
from clusterip.api.pod_validation import template_errors
from clusterip.api.selectors import from_label_selector

MISMATCH = "`selector` does not match template `labels`"


def selector_errors(spec: Tree, owner: str) -> list[FieldError]:
    """The selector itself; what it must not be is empty."""
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    found = label_selector("spec.selector", selector)
    if selects_everything(selector):
        found.append(invalid("spec.selector", selector, f"empty selector is invalid for {owner}"))
    return found


def _shown(selector: Tree) -> Tree:
    """A selector with the fields that are always told."""
    needs = [{"key": "", "operator": "", **each} for each in selector.get("matchExpressions") or ()]
    return {**selector, "matchExpressions": needs} if needs else selector


def replicated_errors(spec: Tree) -> list[FieldError]:
    """Selector and template of a Deployment or a ReplicaSet."""
    found = selector_errors(spec, "deployment")
    if not is_readable(spec.get("selector")):
        return [*found, invalid("spec.selector", _shown(spec["selector"]), "invalid label selector")]
    return found + steady_template_errors(spec, "ReplicaSet")


def matches(selector: Tree | None, template: Tree) -> bool:
    """Whether the pods of a template are those that the selector means; no selector means none."""
    return from_label_selector(selector).matches(labels_of(template))


def is_readable(selector: Tree | None) -> bool:
    """Whether a selector means anything at all; what is wrong with it is told elsewhere."""
    try:
        from_label_selector(selector)
    except ValueError:
        return False
    return True


def template_of(spec: Tree) -> Tree:
    found: Tree = spec.get("template") or {}
    return found


def mismatch_errors(spec: Tree) -> list[FieldError]:
    """A template whose pods the selector does not mean."""
    selector, template = spec.get("selector"), template_of(spec)
    if not is_readable(selector) or matches(selector, template):
        return []
    return [invalid("spec.template.metadata.labels", metadata_of(template).get("labels"), MISMATCH)]


def steady_template_errors(spec: Tree, owner: str) -> list[FieldError]:
    """A template whose pods shall run for ever."""
    template = template_of(spec)
    found = mismatch_errors(spec) + template_errors("spec.template", template)
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") != "Always" and pod.get("restartPolicy") in ("OnFailure", "Never"):
        found.append(not_supported("spec.template.spec.restartPolicy", pod["restartPolicy"], ("Always",)))
    if pod.get("activeDeadlineSeconds") is not None:
        detail = f"activeDeadlineSeconds in {owner} is not Supported"
        found.append(forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    return found


def counts(path: str, holder: Tree, *fields: str) -> list[FieldError]:
    """Numbers that cannot be less than none."""
    return [error for field in fields for error in not_negative(f"{path}.{field}", holder.get(field))]


def number_or_percent(path: str, value: Any) -> list[FieldError]:
    if isinstance(value, str):
        return reasons(path, value, names.percent)
    return not_negative(path, value)


def at_most_all(path: str, value: Any) -> list[FieldError]:
    """A percentage of what there is."""
    if not isinstance(value, str) or names.percent(value) or int(value[:-1]) <= 100:
        return []
    return [invalid(path, value, "must not be greater than 100%")]


def amount(value: Any) -> int:
    """A number or the number of a percentage; 0 when it is neither."""
    if isinstance(value, str):
        return int(value[:-1]) if not names.percent(value) else 0
    return int(value or 0)


def replica_status_errors(status: Tree, *fields: str) -> list[FieldError]:
    """A controller's own count: parts never exceed the whole."""
    found = counts("status", status, *fields, "observedGeneration")
    total = status.get("replicas") or 0
    for field in fields:
        if field != "replicas" and (status.get(field) or 0) > total:
            found.append(invalid(f"status.{field}", status.get(field) or 0, "cannot be greater than status.replicas"))
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        detail = "cannot be greater than readyReplicas"
        found.append(invalid("status.availableReplicas", status.get("availableReplicas") or 0, detail))
    return found
