"""What a Job's status says: counts, indexes, conditions.

Stage: plan.  In: a Job, its pods, the time.  Out: a count, a verdict, a status.
Rules: pure; SuccessCriteriaMet or FailureTarget come first, Complete or Failed when every pod is counted and none runs.
Truth: batch/v1 JobStatus, KEP-3998, kube-controller-manager's reasons and messages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.clock import rfc3339
from clusterip.controllers.job_pods import index_of, is_tracked
from clusterip.controllers.model import Job, Pod
from clusterip.controllers.pods import parse_time

REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
BACKOFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")


@dataclass(frozen=True, slots=True)
class Count:
    """Ends of pods: those that are part of the counts, and those that only their uids tell of."""

    counted_succeeded: int
    counted_failed: int
    uncounted_succeeded: tuple[str, ...]
    uncounted_failed: tuple[str, ...]
    indexes: frozenset[int]

    @property
    def uncounted(self) -> frozenset[str]:
        return frozenset((*self.uncounted_succeeded, *self.uncounted_failed))

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


def counted(job: Job, pods: Sequence[Pod]) -> Count:
    """Uids whose pods were let go become counts; ends that are new become uids."""
    known = job.status.get("uncountedTerminatedPods") or {}
    tracked = {pod.metadata.uid for pod in pods if is_tracked(pod)}
    before: dict[str, list[str]] = {name: list(known.get(name) or ()) for name in ("succeeded", "failed")}
    ended = [pod for pod in pods if is_tracked(pod) and (pod.is_finished or pod.metadata.is_terminating)]
    indexes = _parsed(job.status.get("completedIndexes") or "")
    settled = {name: [uid for uid in uids if uid not in tracked] for name, uids in before.items()}
    waiting = {name: [uid for uid in uids if uid in tracked] for name, uids in before.items()}
    for pod in ended:
        uid = pod.metadata.uid
        if uid not in waiting["succeeded"] and uid not in waiting["failed"]:
            waiting["succeeded" if pod.status.phase == "Succeeded" else "failed"].append(uid)
    done = {index_of(pod) for pod in ended if pod.status.phase == "Succeeded"} - {None}
    return Count(
        int(job.status.get("succeeded") or 0) + len(settled["succeeded"]),
        int(job.status.get("failed") or 0) + len(settled["failed"]),
        tuple(waiting["succeeded"]),
        tuple(waiting["failed"]),
        frozenset(indexes | {index for index in done if index is not None}),
    )


def missing_indexes(job: Job, count: Count, active: Iterable[Pod], limit: int) -> list[int] | None:
    """The lowest numbers that no pod has or had; None for a Job without numbers."""
    if job.spec.completion_mode != "Indexed":
        return None
    taken = count.indexes | {index_of(pod) for pod in active}
    return [index for index in range(job.spec.completions or 0) if index not in taken][:limit]


def _parsed(text: str) -> set[int]:
    """1,3-5 as numbers."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def rendered(indexes: Collection[int]) -> str:
    """Numbers as 1,3-5."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


# -- verdict ----------------------------------------------------------------------------------------------------------


def verdict(job: Job, count: Count, pods: Sequence[Pod], now: datetime) -> Verdict:
    """What was decided stays decided."""
    running = [pod for pod in pods if not pod.is_finished]
    settled = not count.uncounted and not running
    if target := condition_of(job, "FailureTarget"):
        return Verdict(fails=True, settled=settled, reason=target["reason"], message=target["message"])
    if target := condition_of(job, "SuccessCriteriaMet"):
        return Verdict(succeeds=True, settled=settled, reason=target["reason"], message=target["message"])
    if count.failed > job.spec.backoff_limit or _restarts_too_often(job, pods):
        return Verdict(fails=True, settled=settled, reason=BACKOFF[0], message=BACKOFF[1])
    left = seconds_to_deadline(job, now)
    if left is not None and left <= 0:
        return Verdict(fails=True, settled=settled, reason=DEADLINE[0], message=DEADLINE[1])
    if _is_reached(job, count, [pod for pod in pods if pod.is_active]):
        return Verdict(succeeds=True, settled=settled, reason=REACHED[0], message=REACHED[1])
    return Verdict()


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
