"""Jobs: pods that shall end.

Stage: none; a record and its pure functions.
Rules: the selector follows from the uid, so a Job has a uid before it is prepared.
Truth: kube-apiserver's apis/batch defaults, strategy, validation and printer, recorded answers of 1.36.
"""

from __future__ import annotations

from datetime import datetime

from clusterip.api import job_policies
from clusterip.api.checks import each, immutable, label_selector
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, copied, labels_of, metadata_of, name_of, spec_of, uid_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.pod import default_template
from clusterip.api.pod_validation import template_errors
from clusterip.api.pod_warnings import of_template
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import first_generation, next_generation, only_status
from clusterip.api.tables import AGE, NAME, at, fixed, human_duration, template_columns
from clusterip.api.workload import counts, mismatch_errors, template_of

UID_LABEL = "batch.kubernetes.io/controller-uid"
NAME_LABEL = "batch.kubernetes.io/job-name"
OLD_UID_LABEL, OLD_NAME_LABEL = "controller-uid", "job-name"
RESTART_POLICIES = ("OnFailure", "Never")
MODES = ("NonIndexed", "Indexed")
MAX_INT32 = 2**31 - 1
LOST_PODS = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)


def _default(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    default_template(spec.setdefault("template", {}))
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else MAX_INT32)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    failed_only = spec.get("podFailurePolicy") is not None
    spec.setdefault("podReplacementPolicy", "Failed" if failed_only else "TerminatingOrFailed")
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            condition["status"] = condition.get("status") or "True"
    _label_like_template(tree)


def _label_like_template(tree: Tree) -> None:
    """A Job without labels has those of its pods: the very same, so that it has those that are generated, too."""
    labels = labels_of(template_of(spec_of(tree)))
    if labels and not labels_of(tree):
        tree["metadata"]["labels"] = labels


def _prepare_create(tree: Tree) -> None:
    first_generation(tree)
    spec = tree["spec"]
    if not spec.get("manualSelector"):
        _generate_selector(tree, spec)
    _label_like_template(tree)


def _generate_selector(tree: Tree, spec: Tree) -> None:
    """Its pods are known by its uid: labels on the template, and a selector of one of them."""
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    labels.setdefault(OLD_UID_LABEL, uid_of(tree))
    labels.setdefault(OLD_NAME_LABEL, name_of(tree))
    labels.setdefault(UID_LABEL, uid_of(tree))
    labels.setdefault(NAME_LABEL, name_of(tree))
    selector = spec.setdefault("selector", {})
    selector.setdefault("matchLabels", {}).setdefault(UID_LABEL, uid_of(tree))


def _validate(tree: Tree) -> list[FieldError]:
    spec = spec_of(tree)
    found = _generated_selector(tree, spec)
    numbers = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    found += counts("spec", spec, *numbers, "backoffLimitPerIndex", "maxFailedIndexes")
    found += _mode(spec)
    found += job_policies.failure_errors("spec.podFailurePolicy", spec)
    found += job_policies.success_errors("spec.successPolicy", spec)
    if spec.get("selector") is None:
        found.append(required("spec.selector"))
    else:
        found += label_selector("spec.selector", spec["selector"])
        found += mismatch_errors(spec)
    return found + template_errors("spec.template", template_of(spec)) + _restart_policy(spec)


def _generated_selector(tree: Tree, spec: Tree) -> list[FieldError]:
    if spec.get("manualSelector"):
        return []
    labels = labels_of(template_of(spec))
    expected = {
        UID_LABEL: uid_of(tree),
        OLD_UID_LABEL: uid_of(tree),
        NAME_LABEL: name_of(tree),
        OLD_NAME_LABEL: name_of(tree),
    }
    found = []
    for key, value in expected.items():
        if key not in labels:
            found.append(required(f"spec.template.metadata.labels[{key}]", f"must be '{value}'"))
        elif labels[key] != value:
            found.append(invalid(f"spec.template.metadata.labels[{key}]", labels, f"must be '{value}'"))
    return found


def _mode(spec: Tree) -> list[FieldError]:
    mode = spec.get("completionMode")
    if mode is not None and mode not in MODES:
        return [not_supported("spec.completionMode", mode, MODES)]
    found = []
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        found.append(required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if mode == "Indexed" and spec.get("completions") is None:
        found.append(required("spec.completions", "when completion mode is Indexed"))
    if mode == "Indexed" and (spec.get("parallelism") or 0) > 100_000:
        detail = "must be less than or equal to 100000 when completion mode is Indexed"
        found.append(invalid("spec.parallelism", spec["parallelism"], detail))
    if mode != "Indexed":
        detail = "requires indexed completion mode"
        found += [
            invalid(f"spec.{field}", spec[field], detail)
            for field in ("backoffLimitPerIndex", "maxFailedIndexes")
            if spec.get(field) is not None
        ]
    return found


def _restart_policy(spec: Tree) -> list[FieldError]:
    policy = (template_of(spec).get("spec") or {}).get("restartPolicy") or ""
    path = "spec.template.spec.restartPolicy"
    if policy in ("", "Always"):
        return [required(path, 'valid values: "OnFailure", "Never"')]
    if policy not in RESTART_POLICIES:
        return [not_supported(path, policy, RESTART_POLICIES)]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        return [invalid(path, policy, detail)]
    return []


def _validate_update(new: Tree, old: Tree) -> list[FieldError]:
    spec, before = spec_of(new), spec_of(old)
    found = _validate(new)
    indexed = spec.get("completionMode") == "Indexed"
    if spec.get("completions") != before.get("completions") and not (
        indexed and spec.get("completions") == spec.get("parallelism")
    ):
        found += immutable("spec.completions", spec.get("completions"), before.get("completions"))
    found += immutable("spec.selector", spec.get("selector"), before.get("selector"))
    if _frozen(spec, before) != before.get("template"):
        found.append(invalid("spec.template", spec.get("template"), "field is immutable"))
    for field in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        found += immutable(f"spec.{field}", spec.get(field), before.get(field))
    return found


def _frozen(spec: Tree, before: Tree) -> Tree:
    """The template as it would be without what may change while a Job is suspended and has not begun."""
    template: Tree = copied(template_of(spec))
    if not before.get("suspend"):
        return template
    former = template_of(before)
    for field in ("nodeSelector", "tolerations", "affinity", "schedulingGates"):
        _take_over(template.setdefault("spec", {}), former.get("spec") or {}, field)
    for field in ("labels", "annotations"):
        _take_over(template.setdefault("metadata", {}), metadata_of(former), field)
    return template


def _take_over(target: Tree, source: Tree, field: str) -> None:
    target.pop(field, None)
    if field in source:
        target[field] = source[field]


def _validate_status(new: Tree, old: Tree) -> list[FieldError]:
    status = new.get("status") or {}
    found = counts("status", status, "active", "succeeded", "failed", "ready", "terminating")
    for path, condition in each("status.conditions", status.get("conditions")):
        kind, before = condition.get("type"), (old.get("status") or {}).get("conditions") or []
        was = any(c.get("type") == kind and c.get("status") == "True" for c in before)
        if kind in ("Complete", "Failed") and was and condition.get("status") != "True":
            found.append(invalid(path, condition, "cannot disable the terminal Job condition"))
    if _is(status, "Complete") and _is(status, "Failed"):
        found.append(forbidden("status.conditions", "cannot set Complete=True and Failed=True conditions"))
    return found


# --- the table -------------------------------------------------------------------------------------------------------


def _is(status: Tree, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def _status(tree: Tree) -> str:
    status = tree.get("status") or {}
    ends = [kind for kind in ("Complete", "Failed") if _is(status, kind)]
    if ends:
        return ends[0]
    if metadata_of(tree).get("deletionTimestamp"):
        return "Terminating"
    later = [kind for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if _is(status, kind)]
    return later[0] if later else "Running"


def _completions(tree: Tree) -> str:
    spec, done = spec_of(tree), at(tree, "status", "succeeded") or 0
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _duration(tree: Tree, now: datetime) -> str:
    start, end = at(tree, "status", "startTime"), at(tree, "status", "completionTime")
    if not start:
        return ""
    until = datetime.fromisoformat(end) if end else now
    return human_duration((until - datetime.fromisoformat(start)).total_seconds())


JOB = Resource(
    group="batch",
    version="v1",
    kind="Job",
    plural="jobs",
    singular="job",
    categories=("all",),
    schema="io.k8s.api.batch.v1.Job",
    columns=(
        NAME,
        Column("Status", fixed(_status), says="Status of the job."),
        Column("Completions", fixed(_completions), says="@batch.v1.JobStatus.succeeded"),
        Column("Duration", _duration, says="Time required to complete the job."),
        AGE,
        *template_columns("@batch.v1.JobSpec.selector"),
    ),
    subresources={"status": Subresource(kind="Job")},
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=next_generation("spec"),
    prepare_status=only_status(),
    validate=_validate,
    validate_update=_validate_update,
    validate_status=_validate_status,
    warnings=of_template,
    name_rule=name_is_subdomain,
    fields={"status.successful": lambda tree: str(at(tree, "status", "succeeded") or 0)},
    field_refusal='field label "{}" not supported for Job',
    default_propagation="Orphan",
    deletion_warning=LOST_PODS,
)
