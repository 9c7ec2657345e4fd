"""CronJob: Jobs by the clock.

Stage: none; a record and its pure functions.
Truth: kube-apiserver's apis/batch defaults, strategy, validation and printer, recorded answers of 1.36.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from clusterip.api.checks import supported
from clusterip.api.cron import CronError
from clusterip.api.cron import parse as parse_schedule
from clusterip.api.errors import FieldError, invalid, not_supported, required
from clusterip.api.meta import Tree
from clusterip.api.names import name_is_subdomain
from clusterip.api.pod import default_template
from clusterip.api.pod_validation import template_errors
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.resources.batch import RESTART_POLICIES
from clusterip.api.strategy import first_generation, next_generation, only_status
from clusterip.api.tables import AGE, NAME, NONE, at, fixed, selector_text, since, text
from clusterip.api.workload import counts

POLICIES = ("Allow", "Forbid", "Replace")
LONGEST_NAME = 52  # eleven more letters make the name of a Job
IN_SCHEDULE = ("CRON_TZ", "TZ")


def _default(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    spec["concurrencyPolicy"] = spec.get("concurrencyPolicy") or "Allow"
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    job = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
    default_template(job.setdefault("template", {}))


def _validate(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    found = _schedule(spec.get("schedule") or "") + _zone(spec.get("timeZone"))
    found += counts("spec", spec, "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    found += supported("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), POLICIES)
    return found + _job("spec.jobTemplate.spec", at(spec, "jobTemplate", "spec") or {})


def _job(path: str, job: Tree) -> list[FieldError]:
    """The Jobs to come; what they select by is made for each."""
    template = job.get("template") or {}
    found = counts(path, job, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit")
    if job.get("selector") is not None:
        found.append(invalid(f"{path}.selector", job["selector"], "`selector` will be auto-generated"))
    found += template_errors(f"{path}.template", template)
    policy = at(template, "spec", "restartPolicy") or ""
    where = f"{path}.template.spec.restartPolicy"
    if policy in ("", "Always"):
        found.append(required(where, 'valid values: "OnFailure", "Never"'))
    elif policy not in RESTART_POLICIES:
        found.append(not_supported(where, policy, RESTART_POLICIES))
    return found


def _schedule(schedule: str) -> list[FieldError]:
    if not schedule:
        return [required("spec.schedule")]
    if any(f"{word}=" in schedule for word in IN_SCHEDULE):
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return [invalid("spec.schedule", schedule, detail)]
    try:
        parse_schedule(schedule)
    except CronError as error:
        return [invalid("spec.schedule", schedule, str(error))]
    return []


def _zone(name: str | None) -> list[FieldError]:
    if name is None:
        return []
    if not name:
        return [invalid("spec.timeZone", name, "timeZone must be nil or non-empty string")]
    if name.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [invalid("spec.timeZone", name, detail)]
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [invalid("spec.timeZone", name, f"unknown time zone {name}")]
    return []


def _validate_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate(new)


def _name(name: str, prefix: bool) -> list[str]:
    found = name_is_subdomain(name, prefix)
    if not prefix and len(name) > LONGEST_NAME:
        found.append(f"must be no more than {LONGEST_NAME} characters")
    return found


def _containers(field: str, title: str, says: str) -> Column:
    def read(tree: Tree) -> str:
        pod = at(tree, "spec", "jobTemplate", "spec", "template", "spec") or {}
        return ",".join(container.get(field) or "" for container in pod.get("containers") or ())

    return Column(title, fixed(read), says=says, priority=1)


def _last(tree: Tree, now: datetime) -> str:
    moment = at(tree, "status", "lastScheduleTime")
    return since(moment, now) if moment else NONE


CRON_JOB = Resource(
    group="batch",
    version="v1",
    kind="CronJob",
    plural="cronjobs",
    singular="cronjob",
    short_names=("cj",),
    categories=("all",),
    schema="io.k8s.api.batch.v1.CronJob",
    columns=(
        NAME,
        Column("Schedule", text("spec", "schedule"), says="@batch.v1.CronJobSpec.schedule"),
        Column("Timezone", text("spec", "timeZone", otherwise=NONE), says="@batch.v1.CronJobSpec.timeZone"),
        Column(
            "Suspend",
            fixed(lambda tree: str(bool(at(tree, "spec", "suspend")))),
            type="boolean",
            says="@batch.v1.CronJobSpec.suspend",
        ),
        Column(
            "Active",
            fixed(lambda tree: len(at(tree, "status", "active") or ())),
            type="integer",
            says="@batch.v1.CronJobStatus.active",
        ),
        Column("Last Schedule", _last, says="@batch.v1.CronJobStatus.lastScheduleTime"),
        AGE,
        _containers("name", "Containers", "Names of each container in the template."),
        _containers("image", "Images", "Images referenced by each container in the template."),
        Column(
            "Selector",
            fixed(lambda tree: selector_text(at(tree, "spec", "jobTemplate", "spec", "selector"))),
            says="@batch.v1.JobSpec.selector",
            priority=1,
        ),
    ),
    subresources={"status": Subresource(kind="CronJob")},
    default=_default,
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    prepare_status=only_status(),
    validate=_validate,
    validate_update=_validate_update,
    name_rule=_name,
)
