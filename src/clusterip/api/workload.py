"""What the controllers of pods have in common: a selector, a template, a number of pods, a way to roll out.

Stage: none; pure checks.  In: parts of a spec with their paths.  Out: field errors.
Truth: kube-apiserver's apis/apps/validation, recorded answers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import names
from clusterip.api.checks import label_selector, not_negative, reasons, selects_everything
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, labels_of
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


def matches(selector: Tree | None, template: Tree) -> bool:
    """Whether the pods of a template are those that the selector means; one that cannot be read matches nothing."""
    try:
        return selector is not None and bool(from_label_selector(selector).matches(labels_of(template)))
    except ValueError:
        return False


def template_of(spec: Tree) -> Tree:
    found: Tree = spec.get("template") or {}
    return found


def steady_template_errors(spec: Tree, owner: str) -> list[FieldError]:
    """A template whose pods shall run for ever."""
    template = template_of(spec)
    found = []
    if not selects_everything(spec.get("selector")) and not matches(spec.get("selector"), template):
        found.append(invalid("spec.template.metadata.labels", labels_of(template) or None, MISMATCH))
    found += template_errors("spec.template", template)
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
            found.append(invalid(f"status.{field}", status[field], "cannot be greater than status.replicas"))
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        detail = "cannot be greater than readyReplicas"
        found.append(invalid("status.availableReplicas", status["availableReplicas"], detail))
    return found
