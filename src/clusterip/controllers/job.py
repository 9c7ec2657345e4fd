"""Job -> pods that run to their end, counted exactly once each.

Stage: plan.  In: one Job, its pods, the time.  Out: writes.
Rules: pure.  A pod carries a finalizer until its end is counted: first the status names its uid, then the finalizer
goes, then the uid becomes part of a count.  However often this is interrupted, no end is lost or counted twice.
Truth: batch/v1, KEP-2307 (tracking with finalizers), KEP-2214 (indexed), KEP-3998 (terminal conditions).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast

from clusterip.api.meta import Tree
from clusterip.api.selectors import from_label_selector
from clusterip.client.names import JOBS, PODS
from clusterip.controllers import job_status
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.job_indexes import latest
from clusterip.controllers.job_pods import FINALIZER, is_tracked, new_job_pod, retry_delay, retry_delay_of, surplus
from clusterip.controllers.job_policies import awaits_ends
from clusterip.controllers.job_status import Count, Verdict, condition_of
from clusterip.controllers.keys import candidates, of_owned
from clusterip.controllers.model import Pod
from clusterip.controllers.model_workloads import Job
from clusterip.controllers.ownership import Claim, claim
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
    status_patch,
    warning,
)

BURST = 500
CONTROLLER = "kubernetes.io/job-controller"


def reconcile(job: Job, pods: Iterable[Pod], now: datetime) -> Outcome:
    """One step of a Job."""
    if job.spec.managed_by not in (None, CONTROLLER):
        return NOTHING  # somebody else's
    mine = list(pods)
    draft = Draft()
    if finished := condition_of(job, "Complete") or condition_of(job, "Failed"):
        draft.extend(_released(mine))
        draft.extend(_surplus(job, [pod for pod in mine if pod.is_active]))
        draft.look_again(_expire(job, finished, now, draft))
        return draft.outcome()
    count = job_status.counted(job, mine)
    verdict = job_status.verdict(job, count, mine, now)
    if verdict.ends and count.delayed:
        count = job_status.counted(job, mine, at_the_end=True)
        verdict = job_status.verdict(job, count, mine, now)
    patch = status_patch(job.status, job_status.compute(job, count, verdict, mine, now))
    if patch:
        meta = job.metadata
        draft.add(Patch(JOBS, meta.namespace, meta.name, patch, "status"))
        draft.extend(_words(job, verdict))
    draft.extend(_released([pod for pod in mine if pod.metadata.uid in count.releasable]))
    if not job.metadata.is_terminating:
        draft.look_again(_manage(job, count, verdict, mine, now, draft))
    if not verdict.ends:
        draft.look_again(job_status.seconds_to_deadline(job, now))
    return draft.outcome()


def orphaned(pods: Iterable[Pod]) -> Outcome:
    """Pods whose Job is gone: nobody will count them."""
    return Outcome(tuple(_released(pods)))


def _released(pods: Iterable[Pod]) -> Iterable[Patch]:
    for pod in pods:
        if is_tracked(pod):
            meta = pod.metadata
            left = [name for name in meta.finalizers if name != FINALIZER]
            metadata = {"uid": meta.uid, "finalizers": left or None}
            yield Patch(PODS, meta.namespace, meta.name, {"metadata": metadata})


def _surplus(job: Job, pods: Iterable[Pod]) -> Iterable[Delete]:
    for pod in pods:
        meta = pod.metadata
        said = normal(JOBS, job.metadata, "SuccessfulDelete", f"Deleted pod: {meta.name}")
        yield Delete(PODS, meta.namespace, meta.name, uid=meta.uid, said=said)


def _manage(job: Job, count: Count, verdict: Verdict, pods: Sequence[Pod], now: datetime, draft: Draft) -> float | None:
    """Make or delete pods; after how many seconds a failed one may be followed."""
    active = [pod for pod in pods if pod.is_active]
    if verdict.ends or job.spec.suspend:
        draft.extend(_surplus(job, active))
        return None
    leaving = sum(pod.metadata.is_terminating and not pod.is_finished for pod in pods) if awaits_ends(job) else 0
    wanted = _wanted(job, count, len(active))
    if len(active) > wanted:
        draft.extend(_surplus(job, surplus(active, len(active) - wanted)))
        return None
    missing = min(wanted - len(active) - leaving, BURST)
    if missing <= 0:
        return None
    if job.spec.backoff_limit_per_index is not None:
        return _retry_by_index(job, count, active, missing, now, draft)
    wait = retry_delay(pods, now)
    if wait > 0:
        return wait
    indexes = job_status.missing_indexes(job, count, active, missing)
    for number in range(missing) if indexes is None else indexes:
        draft.add(_create(job, None if indexes is None else number))
    return None


def _retry_by_index(
    job: Job, count: Count, active: Sequence[Pod], missing: int, now: datetime, draft: Draft
) -> float | None:
    """Each number waits for itself alone."""
    former, waits = latest(count.delayed), []
    for number in job_status.missing_indexes(job, count, active, job.spec.completions or 0) or ():
        wait = retry_delay_of(former.get(number), now)
        if wait > 0:
            waits.append(wait)
        elif missing > 0:
            missing -= 1
            draft.add(_create(job, number, former.get(number)))
    return min(waits, default=None)


def _wanted(job: Job, count: Count, active: int) -> int:
    completions = job.spec.completions
    if completions is None:
        return active if count.succeeded else job.spec.parallelism
    over = count.succeeded if job.spec.completion_mode != "Indexed" else len(count.indexes) + len(count.failed_indexes)
    return max(0, min(completions - over, job.spec.parallelism))


def _create(job: Job, index: int | None, replaced: Pod | None = None) -> Create:
    return Create(
        PODS,
        new_job_pod(job, index, replaced),
        said=normal(JOBS, job.metadata, "SuccessfulCreate", "Created pod: {name}"),
        failed=warning(JOBS, job.metadata, "FailedCreate", "Error creating: {error}"),
    )


def _words(job: Job, verdict: Verdict) -> Iterable[Say]:
    if verdict.completes:
        yield Say(normal(JOBS, job.metadata, "Completed", "Job completed"))
    elif verdict.fails and condition_of(job, "FailureTarget") is None:
        yield Say(warning(JOBS, job.metadata, verdict.reason, verdict.message))
    suspended = condition_of(job, "Suspended")
    if job.spec.suspend and suspended is None:
        yield Say(normal(JOBS, job.metadata, "Suspended", "Job suspended"))
    elif not job.spec.suspend and suspended is not None:
        yield Say(normal(JOBS, job.metadata, "Resumed", "Job resumed"))


def _expire(job: Job, finished: Tree, now: datetime, draft: Draft) -> float | None:
    """A finished Job goes when its time to live is over."""
    limit, meta = job.spec.ttl_seconds_after_finished, job.metadata
    if limit is None or meta.is_terminating:
        return None
    since = parse_time(finished.get("lastTransitionTime")) or now
    left = limit - (now - since).total_seconds()
    if left > 0:
        return left + 0.01
    draft.add(Delete(JOBS, meta.namespace, meta.name, uid=meta.uid, propagation="Foreground"))
    return None


# -- shell ------------------------------------------------------------------------------------------------------------


def start(world: World) -> list[Loop]:
    jobs, pods = world.follow(JOBS, Job), world.follow(PODS, Pod)
    pods.index("job", _job_of)

    def look(key: Key) -> Outcome:
        job, found = jobs.get(*key), pods.by_index("job", key)
        if job is None:
            return orphaned(found)
        strangers = [pod for pod in found if _owner_uid(pod) != job.metadata.uid]
        claimed = claimed_by(job, candidates(pods, job.metadata))
        if claimed.patches:  # what is adopted or released counts once the cache shows it
            return Outcome((*orphaned(strangers).writes, *claimed.patches))
        outcome = reconcile(job, claimed.mine, world.clock.now())
        return Outcome((*orphaned(strangers).writes, *outcome.writes), outcome.again)

    loop = Loop("job", world, look)
    loop.follow(jobs)
    loop.follow(pods, of_owned(JOBS.kind, jobs))
    return [loop]


def claimed_by(job: Job, pods: Iterable[Pod]) -> Claim[Pod]:
    """A Job's pods; one that is adopted is tracked from now on, one that is released no more."""
    if job.spec.managed_by not in (None, CONTROLLER) or _is_over(job):
        return Claim(tuple(pod for pod in pods if _owner_uid(pod) == job.metadata.uid), ())
    items = {pod.metadata.name: pod for pod in pods}
    claimed = claim(JOBS, job.metadata, from_label_selector(job.spec.selector), PODS, items.values())
    return Claim(claimed.mine, tuple(_tracked(patch, items[patch.name]) for patch in claimed.patches))


def _tracked(patch: Patch, pod: Pod) -> Patch:
    """The patch that adopts or releases a pod, with the finalizers that this means."""
    others = [name for name in pod.metadata.finalizers if name != FINALIZER]
    finalizers = [*others, FINALIZER] if pod.metadata.controller is None else others
    metadata = {**cast("Tree", patch.patch)["metadata"], "finalizers": finalizers or None}
    return replace(patch, patch={"metadata": metadata})


def _is_over(job: Job) -> bool:
    return condition_of(job, "Complete") is not None or condition_of(job, "Failed") is not None


def _job_of(pod: Pod) -> Iterable[Key]:
    owner = pod.metadata.controller
    return ((pod.metadata.namespace, owner.name),) if owner is not None and owner.kind == "Job" else ()


def _owner_uid(pod: Pod) -> str:
    owner = pod.metadata.controller
    return owner.uid if owner else ""
