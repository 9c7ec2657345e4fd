"""CronJob -> Jobs, by the clock.

Stage: plan.  In: one CronJob, the Jobs that it owns, the time.  Out: writes, and when it is due next.
Rules: pure.  A Job's name is made of the minute for which it was due, so that none is made twice; of several missed
times only the last counts; what the status calls active is what was made here and has not ended.
Truth: batch/v1, kube-controller-manager's cronjob controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from clusterip.api.cron import CronError, Schedule
from clusterip.api.cron import parse as parse_schedule
from clusterip.api.meta import Tree, copied
from clusterip.client.names import CRON_JOBS, JOBS
from clusterip.clock import rfc3339
from clusterip.controllers.cronjob_times import MANY, NeverDue, due, seconds_to_next
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.job_status import condition_of
from clusterip.controllers.model_workloads import CronJob, Job
from clusterip.controllers.pods import parse_time
from clusterip.controllers.writes import (
    NOTHING,
    Create,
    Delete,
    Draft,
    Key,
    Outcome,
    Patch,
    Say,
    normal,
    owned_by,
    warning,
)

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
PADDING_SECONDS = 0.1  # clocks of machines differ a little


@dataclass(slots=True)
class _State:
    """What the status will say; built up inside one reconcile."""

    active: list[Tree]
    last_schedule: str | None
    last_success: str | None
    draft: Draft = field(default_factory=Draft)


def reconcile(cron: CronJob, jobs: Iterable[Job], now: datetime) -> Outcome:
    """The Job that is due, the end of old ones, and the status."""
    known = {job.metadata.uid: job for job in jobs}
    state = _State(list(cron.status.active), cron.status.last_schedule_time, cron.status.last_successful_time)
    _take_stock(cron, known, state)
    if not cron.metadata.is_terminating:
        _schedule(cron, known, state, now)
    _clean_up(cron, known.values(), state)
    if patch := _status(cron, state):
        meta = cron.metadata
        state.draft.add(Patch(CRON_JOBS, meta.namespace, meta.name, patch, "status"))
    return state.draft.outcome()


# -- what there is ----------------------------------------------------------------------------------------------------


def _take_stock(cron: CronJob, known: dict[str, Job], state: _State) -> None:
    """Jobs that began or ended since the last look."""
    ours, listed = _last_name(cron), {reference.get("uid") for reference in state.active}
    for uid, job in known.items():
        ended = _ended(job)
        if not ended and uid not in listed and not job.metadata.is_terminating:
            if job.metadata.name == ours:
                state.active.append(_reference(job))
            else:
                words = f"Saw a job that the controller did not create or forgot: {job.metadata.name}"
                state.draft.add(Say(warning(CRON_JOBS, cron.metadata, "UnexpectedJob", words)))
        elif ended and uid in listed:
            _inactive(state, uid)
            words = f"Saw completed job: {job.metadata.name}, condition: {ended}"
            state.draft.add(Say(normal(CRON_JOBS, cron.metadata, "SawCompletedJob", words)))
        if ended == "Complete":
            finished = job.status.get("completionTime")
            state.last_success = max(filter(None, (state.last_success, finished)), default=None)
    for reference in list(state.active):
        if reference.get("uid") not in known:
            _inactive(state, reference.get("uid"))
            words = f"Active job went missing: {reference.get('name')}"
            state.draft.add(Say(normal(CRON_JOBS, cron.metadata, "MissingJob", words)))


def _ended(job: Job) -> str:
    return next((type for type in ("Complete", "Failed") if condition_of(job, type)), "")


def _reference(job: Job) -> Tree:
    meta = job.metadata
    return {
        "apiVersion": JOBS.api_version,
        "kind": "Job",
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    }


def _inactive(state: _State, uid: str | None) -> None:
    state.active = [reference for reference in state.active if reference.get("uid") != uid]


def _last_name(cron: CronJob) -> str | None:
    moment = parse_time(cron.status.last_schedule_time)
    return _name(cron, moment) if moment else None


def _name(cron: CronJob, moment: datetime) -> str:
    return f"{cron.metadata.name}-{int(moment.timestamp()) // 60}"


# -- what is due ------------------------------------------------------------------------------------------------------


def _schedule(cron: CronJob, known: dict[str, Job], state: _State, now: datetime) -> None:
    found = _readable(cron, state)
    if found is None or cron.spec.suspend:
        return
    schedule, zone = found
    since = parse_time(state.last_schedule) or parse_time(cron.metadata.creation_timestamp) or now
    if (moment := _moment(cron, schedule, zone, since, now, state)) and _may_start(cron, moment, known, state, now):
        state.draft.add(_create(cron, moment, zone))
        state.last_schedule = rfc3339(moment)
        since = moment
    try:
        state.draft.look_again(seconds_to_next(schedule, zone, since, now) + PADDING_SECONDS)
    except NeverDue as error:
        _complain(cron, state, "InvalidSchedule", f"invalid schedule: {cron.spec.schedule} : {error}")


def _readable(cron: CronJob, state: _State) -> tuple[Schedule, tzinfo] | None:
    """The schedule and its zone; None when nobody can read them, and an event says so."""
    name, text = cron.spec.time_zone, cron.spec.schedule
    try:
        zone: tzinfo = ZoneInfo(name) if name is not None else UTC
    except (ValueError, OSError, KeyError):
        _complain(cron, state, "UnknownTimeZone", f'invalid timeZone: "{name}": unknown time zone {name}')
        return None
    try:
        return parse_schedule(text), zone
    except CronError as error:
        _complain(cron, state, "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}')
        return None


def _moment(
    cron: CronJob, schedule: Schedule, zone: tzinfo, since: datetime, now: datetime, state: _State
) -> datetime | None:
    """The last time that was missed, as far back as the deadline lets us look."""
    deadline = cron.spec.starting_deadline_seconds
    if deadline is not None:
        since = max(since, now - timedelta(seconds=deadline))
    try:
        found = due(schedule, zone, since, now)
    except NeverDue as error:
        _complain(cron, state, "InvalidSchedule", f"invalid schedule: {cron.spec.schedule} : {error}")
        return None
    if found.last is not None and found.missed > MANY:
        words = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        _complain(cron, state, "TooManyMissedTimes", words)
    return found.last


def _may_start(cron: CronJob, moment: datetime, known: dict[str, Job], state: _State, now: datetime) -> bool:
    deadline = cron.spec.starting_deadline_seconds
    if deadline is not None and moment + timedelta(seconds=deadline) < now:
        words = f"Missed scheduled time to start a job: {moment.astimezone(UTC):%a, %d %b %Y %H:%M:%S +0000}"
        _complain(cron, state, "MissSchedule", words)
        return False
    if any(reference.get("name") == _name(cron, moment) for reference in state.active):
        return False
    if parse_time(state.last_schedule) == moment:
        return False
    if cron.spec.concurrency_policy == "Forbid" and state.active:
        words = "Not starting job because prior execution is running and concurrency policy is Forbid"
        state.draft.add(Say(normal(CRON_JOBS, cron.metadata, "JobAlreadyActive", words)))
        return False
    if cron.spec.concurrency_policy == "Replace":
        for reference in list(state.active):
            state.draft.add(_delete(cron, known[reference["uid"]], state))
    return True


def _create(cron: CronJob, moment: datetime, zone: tzinfo) -> Create:
    template, meta = copied(cron.spec.job_template), cron.metadata
    given, name = template.get("metadata") or {}, _name(cron, moment)
    stamp = moment.astimezone(zone).isoformat(timespec="seconds").replace("+00:00", "Z")
    tree: Tree = {
        "apiVersion": JOBS.api_version,
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": given.get("labels") or {},
            "annotations": {**(given.get("annotations") or {}), SCHEDULED: stamp},
            "ownerReferences": [owned_by(CRON_JOBS, meta)],
        },
        "spec": template.get("spec") or {},
    }
    return Create(
        JOBS,
        tree,
        said=normal(CRON_JOBS, meta, "SuccessfulCreate", f"Created job {name}"),
        failed=warning(CRON_JOBS, meta, "FailedCreate", "Error creating job: {error}"),
        exists_ok=True,
    )


def _complain(cron: CronJob, state: _State, reason: str, words: str) -> None:
    state.draft.add(Say(warning(CRON_JOBS, cron.metadata, reason, words)))


# -- what is over -----------------------------------------------------------------------------------------------------


def _clean_up(cron: CronJob, jobs: Iterable[Job], state: _State) -> None:
    """Of the Jobs that ended, the youngest stay."""
    ended: dict[str, list[Job]] = {"Complete": [], "Failed": []}
    for job in jobs:
        if (how := _ended(job)) and not job.metadata.is_terminating:
            ended[how].append(job)
    spec = cron.spec
    for how, limit in (("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)):
        for job in _oldest(ended[how], limit):
            state.draft.add(_delete(cron, job, state))


def _oldest(jobs: Sequence[Job], limit: int | None) -> Sequence[Job]:
    if limit is None or len(jobs) <= limit:
        return ()
    ordered = sorted(jobs, key=lambda job: (job.status.get("startTime") or "~", job.metadata.name))
    return ordered[: len(jobs) - limit]


def _delete(cron: CronJob, job: Job, state: _State) -> Delete:
    meta = job.metadata
    _inactive(state, meta.uid)
    return Delete(
        JOBS,
        meta.namespace,
        meta.name,
        uid=meta.uid,
        propagation="Background",
        said=normal(CRON_JOBS, cron.metadata, "SuccessfulDelete", f"Deleted job {meta.name}"),
        failed=warning(CRON_JOBS, cron.metadata, "FailedDelete", "Deleted job: {error}"),
    )


def _status(cron: CronJob, state: _State) -> Tree | None:
    """The merge patch of what changed."""
    known = cron.status
    changed: Tree = {}
    if state.active != list(known.active):
        changed["active"] = state.active or None
    if state.last_schedule != known.last_schedule_time:
        changed["lastScheduleTime"] = state.last_schedule
    if state.last_success != known.last_successful_time:
        changed["lastSuccessfulTime"] = state.last_success
    return {"status": changed} if changed else None


# -- shell ------------------------------------------------------------------------------------------------------------


def start(world: World) -> list[Loop]:
    crons, jobs = world.follow(CRON_JOBS, CronJob), world.follow(JOBS, Job)

    def look(key: Key) -> Outcome:
        found = crons.get(*key)
        if found is None:
            return NOTHING
        return reconcile(found, jobs.by_index("controller", found.metadata.uid), world.clock.now())

    def job_changed(key: Key, old: Job | None, new: Job | None) -> Iterable[Key]:
        owners = [job.metadata.controller for job in (old, new) if job is not None]
        return {(key[0], owner.name) for owner in owners if owner is not None and owner.kind == "CronJob"}

    loop = Loop("cronjob", world, look)
    loop.follow(crons)
    loop.follow(jobs, job_changed)
    return [loop]
