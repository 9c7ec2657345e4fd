"""The pods of a Job: how a new one looks, which are too many, when a failed one may be followed.

Stage: plan.  In: a Job, pods, the time.  Out: trees, choices, seconds.
Rules: pure.
Truth: batch/v1; a failed pod is followed after 10 s, twice that each further time, at most 10 minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.client.names import JOBS
from clusterip.controllers.job_indexes import FAILURES, IGNORED, INDEX, failures_before, ignored_before
from clusterip.controllers.job_policies import IGNORE, meaning
from clusterip.controllers.model import Pod
from clusterip.controllers.model_workloads import Job
from clusterip.controllers.pods import new_pod, parse_time, victims

FINALIZER = "batch.kubernetes.io/job-tracking"
FIRST_DELAY_SECONDS = 10.0
LONGEST_DELAY_SECONDS = 600.0


def is_tracked(pod: Pod) -> bool:
    """Whether the pod's end is still to be counted."""
    return FINALIZER in pod.metadata.finalizers


def new_job_pod(job: Job, index: int | None, replaced: Pod | None = None) -> Tree:
    """A pod of the template, tracked; an indexed one knows its number, and how often that has failed."""
    tree = new_pod(JOBS, job.metadata, job.spec.template, finalizers=[FINALIZER])
    if index is None:
        return tree
    metadata, spec, text = tree["metadata"], tree["spec"], str(index)
    metadata["generateName"] = f"{job.metadata.name}-{text}-"
    counts = {} if job.spec.backoff_limit_per_index is None else _failure_counts(job, replaced)
    metadata["annotations"] = {**metadata.get("annotations", {}), INDEX: text, **counts}
    metadata["labels"][INDEX] = text
    spec.setdefault("hostname", f"{job.metadata.name}-{text}")
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        env = container.setdefault("env", [])
        if not any(entry.get("name") == "JOB_COMPLETION_INDEX" for entry in env):
            env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return tree


def _failure_counts(job: Job, replaced: Pod | None) -> dict[str, str]:
    if replaced is None:
        return {FAILURES: "0"}
    counted = meaning(job, replaced).action != IGNORE
    failures, ignored = failures_before(replaced) + counted, ignored_before(replaced) + (not counted)
    return {FAILURES: str(failures)} | ({IGNORED: str(ignored)} if ignored else {})


def surplus(active: Sequence[Pod], count: int) -> list[Pod]:
    """The pods missed least."""
    return victims(active, count)


def retry_delay(pods: Iterable[Pod], now: datetime) -> float:
    """Seconds until a failed pod may be followed by a new one."""
    ends = sorted((end, pod.status.phase) for pod in pods if pod.is_finished and (end := _end(pod)) is not None)
    failures, last = 0, None
    for end, phase in ends:
        failures, last = (failures + 1, end) if phase == "Failed" else (0, None)
    if last is None:
        return 0.0
    delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 20))
    return max(0.0, delay - (now - last).total_seconds())


def retry_delay_of(pod: Pod | None, now: datetime) -> float:
    """The same for one number of a Job that counts failures for each."""
    end = _end(pod) if pod is not None else None
    if pod is None or end is None:
        return 0.0
    failures = failures_before(pod) + ignored_before(pod)
    delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures, 20))
    return max(0.0, delay - (now - end).total_seconds())


def _end(pod: Pod) -> datetime | None:
    ends = [
        parse_time(status.state.terminated.finished_at)
        for status in pod.status.container_statuses
        if status.state.terminated is not None and status.state.terminated.finished_at
    ]
    known = [end for end in ends if end is not None]
    if known:
        return max(known)
    ready = pod.condition("Ready")
    return parse_time(ready.last_transition_time) if ready is not None else None
