"""What a Job's status says: counts, indexes, conditions.

Stage: plan.  In: a Job, its pods, the time.  Out: a count, a verdict, a status.
Rules: pure; SuccessCriteriaMet or FailureTarget come first, Complete or Failed when every pod is counted and none runs.
Truth: batch/v1 JobStatus, KEP-3998, kube-controller-manager's reasons and messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.clock import rfc3339
from clusterip.controllers.job_indexes import failures_before, index_of, latest, parsed, rendered
from clusterip.controllers.job_pods import is_tracked
from clusterip.controllers.job_policies import FAIL_INDEX, FAIL_JOB, IGNORE, is_failed, meaning, succeeded
from clusterip.controllers.model import Pod
from clusterip.controllers.model_workloads import Job
from clusterip.controllers.pods import parse_time

REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
BACKOFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
TOO_MANY = ("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes")
SOME_FAILED = ("FailedIndexes", "Job has failed indexes")
DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")


@dataclass(frozen=True, slots=True)
class Count:
    """Ends of pods: those that are part of the counts, and those that only their uids tell of."""

    counted_succeeded: int
    counted_failed: int
    uncounted_succeeded: tuple[str, ...]
    uncounted_failed: tuple[str, ...]
    indexes: frozenset[int]
    failed_indexes: frozenset[int] = frozenset()
    ignored: frozenset[str] = frozenset()  # failures that do not count
    delayed: tuple[Pod, ...] = ()  # the last failures of numbers that will be tried again

    @property
    def uncounted(self) -> frozenset[str]:
        return frozenset((*self.uncounted_succeeded, *self.uncounted_failed))

    @property
    def releasable(self) -> frozenset[str]:
        """The uids whose pods need not be kept any longer, once the status is written."""
        return self.uncounted | self.ignored

    @property
    def succeeded(self) -> int:
        return self.counted_succeeded + len(self.uncounted_succeeded)

    @property
    def failed(self) -> int:
        return self.counted_failed + len(self.uncounted_failed)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the Job is decided, and whether all is over."""

    succeeds: bool = False
    fails: bool = False
    settled: bool = False
    reason: str = ""
    message: str = ""

    @property
    def ends(self) -> bool:
        return self.succeeds or self.fails

    @property
    def completes(self) -> bool:
        return self.succeeds and self.settled


def condition_of(job: Job, type: str) -> Tree | None:
    """A condition that is true."""
    conditions: Iterable[Tree] = job.status.get("conditions") or ()
    return next((c for c in conditions if c.get("type") == type and c.get("status") == "True"), None)


# -- counts -----------------------------------------------------------------------------------------------------------


def counted(job: Job, pods: Sequence[Pod], *, at_the_end: bool = False) -> Count:
    """Uids whose pods were let go become counts; ends that are new become uids. At the end nothing is tried again."""
    known = job.status.get("uncountedTerminatedPods") or {}
    tracked = {pod.metadata.uid for pod in pods if is_tracked(pod)}
    before: dict[str, list[str]] = {name: list(known.get(name) or ()) for name in ("succeeded", "failed")}
    settled = {name: [uid for uid in uids if uid not in tracked] for name, uids in before.items()}
    waiting = {name: [uid for uid in uids if uid in tracked] for name, uids in before.items()}
    tracked_pods = [pod for pod in pods if is_tracked(pod)]
    succeeded_pods = [pod for pod in tracked_pods if pod.status.phase == "Succeeded"]
    failed_pods = [pod for pod in tracked_pods if is_failed(job, pod)]
    indexes = parsed(job.status.get("completedIndexes") or "") | _numbers(succeeded_pods)
    failed_indexes = _failed_indexes(job, failed_pods)
    delayed = [] if at_the_end else _delayed(job, pods, indexes | failed_indexes)
    ignored = {pod.metadata.uid for pod in failed_pods if meaning(job, pod).action == IGNORE}
    held = ignored | {pod.metadata.uid for pod in delayed}
    for name, ended in (("succeeded", succeeded_pods), ("failed", failed_pods)):
        fresh = [pod.metadata.uid for pod in ended if pod.metadata.uid not in held]
        waiting[name] += [uid for uid in fresh if uid not in waiting["succeeded"] and uid not in waiting["failed"]]
    return Count(
        int(job.status.get("succeeded") or 0) + len(settled["succeeded"]),
        int(job.status.get("failed") or 0) + len(settled["failed"]),
        tuple(waiting["succeeded"]),
        tuple(waiting["failed"]),
        frozenset(indexes),
        frozenset(failed_indexes),
        frozenset(ignored - {pod.metadata.uid for pod in delayed}),
        tuple(delayed),
    )


def _numbers(pods: Iterable[Pod]) -> set[int]:
    return {index for pod in pods if (index := index_of(pod)) is not None}


def _failed_indexes(job: Job, failed: Iterable[Pod]) -> set[int]:
    """The numbers that will not be tried again."""
    limit = job.spec.backoff_limit_per_index
    if limit is None:
        return set()
    lost = [pod for pod in failed if _ends_its_index(job, pod, limit)]
    return parsed(job.status.get("failedIndexes") or "") | _numbers(lost)


def _ends_its_index(job: Job, pod: Pod, limit: int) -> bool:
    action = meaning(job, pod).action if pod.status.phase == "Failed" else ""
    return action == FAIL_INDEX or (action != IGNORE and failures_before(pod) >= limit)


def _delayed(job: Job, pods: Sequence[Pod], over: set[int]) -> list[Pod]:
    """Failed pods that carry their number's count until the next pod has it."""
    if job.spec.backoff_limit_per_index is None:
        return []
    taken = over | _numbers(pod for pod in pods if pod.is_active)
    failed = [pod for pod in pods if is_failed(job, pod) and is_tracked(pod) and index_of(pod) not in taken]
    return list(latest(failed).values())


def missing_indexes(job: Job, count: Count, active: Iterable[Pod], limit: int) -> list[int] | None:
    """The lowest numbers that no pod has or had; None for a Job without numbers."""
    if job.spec.completion_mode != "Indexed":
        return None
    taken = count.indexes | count.failed_indexes | {index_of(pod) for pod in active}
    return [index for index in range(job.spec.completions or 0) if index not in taken][:limit]


# -- verdict ----------------------------------------------------------------------------------------------------------


def verdict(job: Job, count: Count, pods: Sequence[Pod], now: datetime) -> Verdict:
    """What was decided stays decided."""
    running = [pod for pod in pods if not pod.is_finished]
    settled = not count.uncounted and not count.ignored and not running
    if target := condition_of(job, "FailureTarget"):
        return Verdict(fails=True, settled=settled, reason=target["reason"], message=target["message"])
    if target := condition_of(job, "SuccessCriteriaMet"):
        return Verdict(succeeds=True, settled=settled, reason=target["reason"], message=target["message"])
    if why := _failure(job, count, pods, now):
        return Verdict(fails=True, settled=settled, reason=why[0], message=why[1])
    if words := succeeded(job, count.indexes):
        return Verdict(succeeds=True, settled=settled, reason="SuccessPolicy", message=words)
    if _is_reached(job, count, [pod for pod in pods if pod.is_active]):
        return Verdict(succeeds=True, settled=settled, reason=REACHED[0], message=REACHED[1])
    return Verdict()


def _failure(job: Job, count: Count, pods: Sequence[Pod], now: datetime) -> tuple[str, str] | None:
    """Why the Job fails: reason and message."""
    for pod in pods:
        if pod.status.phase == "Failed" and (found := meaning(job, pod)).action == FAIL_JOB:
            return "PodFailurePolicy", found.words
    if count.failed > job.spec.backoff_limit or _restarts_too_often(job, pods):
        return BACKOFF
    left = seconds_to_deadline(job, now)
    if left is not None and left <= 0:
        return DEADLINE
    lost, most = len(count.failed_indexes), job.spec.max_failed_indexes
    if most is not None and lost > most:
        return TOO_MANY
    return SOME_FAILED if lost and lost + len(count.indexes) >= (job.spec.completions or 0) else None


def _is_reached(job: Job, count: Count, active: Sequence[Pod]) -> bool:
    completions = job.spec.completions
    if completions is None:
        return count.succeeded > 0 and not active
    if job.spec.completion_mode == "Indexed":
        return len(count.indexes) >= completions
    return count.succeeded >= completions


def _restarts_too_often(job: Job, pods: Iterable[Pod]) -> bool:
    """Containers that are started again in place count as failures too."""
    restarts = sum(
        status.restart_count
        for pod in pods
        if pod.is_active and pod.spec.restart_policy == "OnFailure"
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses)
    )
    limit = job.spec.backoff_limit
    return restarts > 0 if limit == 0 else restarts >= limit


def seconds_to_deadline(job: Job, now: datetime) -> float | None:
    limit, start = job.spec.active_deadline_seconds, parse_time(job.status.get("startTime"))
    if limit is None or start is None or job.spec.suspend:
        return None
    return limit - (now - start).total_seconds()


# -- status -----------------------------------------------------------------------------------------------------------


def compute(job: Job, count: Count, found: Verdict, pods: Sequence[Pod], now: datetime) -> Tree:
    active = [pod for pod in pods if pod.is_active]
    uncounted = {"succeeded": list(count.uncounted_succeeded), "failed": list(count.uncounted_failed)}
    status: Tree = {
        "active": len(active) or None,
        "ready": sum(pod.is_ready for pod in active),
        "terminating": sum(pod.metadata.is_terminating and not pod.is_finished for pod in pods),
        "succeeded": count.counted_succeeded or None,
        "failed": count.counted_failed or None,
        "uncountedTerminatedPods": {name: uids for name, uids in uncounted.items() if uids},
        "conditions": _conditions(job, found, now) or None,
    }
    if job.spec.completion_mode == "Indexed":
        status["completedIndexes"] = rendered(count.indexes) or None
    if job.spec.backoff_limit_per_index is not None:
        status["failedIndexes"] = rendered(count.failed_indexes)
    if job.spec.suspend:
        status["startTime"] = None
    elif not job.status.get("startTime"):
        status["startTime"] = rfc3339(now)
    if found.completes:
        status["completionTime"] = rfc3339(now)
    return _patched_uncounted(job, status)


def _patched_uncounted(job: Job, status: Tree) -> Tree:
    """A merge patch takes lists away only when it names them."""
    known = job.status.get("uncountedTerminatedPods") or {}
    wanted = status["uncountedTerminatedPods"]
    if known == wanted and "uncountedTerminatedPods" in job.status:
        status["uncountedTerminatedPods"] = job.status["uncountedTerminatedPods"]
    else:
        status["uncountedTerminatedPods"] = {**{name: None for name in known if name not in wanted}, **wanted}
    return status


def _conditions(job: Job, found: Verdict, now: datetime) -> list[Tree]:
    conditions: list[Tree] = list(job.status.get("conditions") or ())
    if found.ends:
        first, last = ("SuccessCriteriaMet", "Complete") if found.succeeds else ("FailureTarget", "Failed")
        conditions = _with(conditions, first, "True", found.reason, found.message, now)
        if found.settled:
            conditions = _with(conditions, last, "True", found.reason, found.message, now)
    elif job.spec.suspend:
        conditions = _with(conditions, "Suspended", "True", "JobSuspended", "Job suspended", now)
    elif any(condition["type"] == "Suspended" for condition in conditions):
        conditions = _with(conditions, "Suspended", "False", "JobResumed", "Job resumed", now)
    return conditions


def _with(conditions: list[Tree], type: str, status: str, reason: str, message: str, now: datetime) -> list[Tree]:
    known = next((condition for condition in conditions if condition["type"] == type), None)
    if known is not None and known.get("status") == status:
        return conditions
    moment = rfc3339(now)
    fresh = {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message,
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
    }
    return [condition for condition in conditions if condition["type"] != type] + [fresh]
