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
from clusterip.controllers.model import Job, Pod
from clusterip.controllers.pods import new_pod, parse_time, victims

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FIRST_DELAY_SECONDS = 10.0
LONGEST_DELAY_SECONDS = 600.0


def is_tracked(pod: Pod) -> bool:
    """Whether the pod's end is still to be counted."""
    return FINALIZER in pod.metadata.finalizers


def index_of(pod: Pod) -> int | None:
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isdecimal() else None


def new_job_pod(job: Job, index: int | None) -> Tree:
    """A pod of the template, tracked; an indexed one knows its number."""
    tree = new_pod(JOBS, job.metadata, job.spec.template, finalizers=[FINALIZER])
    if index is None:
        return tree
    metadata, spec, text = tree["metadata"], tree["spec"], str(index)
    metadata["generateName"] = f"{job.metadata.name}-{text}-"
    metadata["annotations"] = {**metadata.get("annotations", {}), INDEX: text}
    metadata["labels"][INDEX] = text
    spec.setdefault("hostname", f"{job.metadata.name}-{text}")
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        env = container.setdefault("env", [])
        if not any(entry.get("name") == "JOB_COMPLETION_INDEX" for entry in env):
            env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return tree


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
