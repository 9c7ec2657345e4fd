"""Numbers of an indexed Job: as text, and how often each has failed.

Stage: plan.  In: texts, pods.  Out: sets of numbers, counts.
Rules: pure; a number's failures are written on its latest pod, which is kept until the next one carries the count on.
Truth: batch/v1 JobStatus.completedIndexes, KEP-3850 (backoff limit per index).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from clusterip.controllers.model import Pod

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"


def parsed(text: str) -> set[int]:
    """1,3-5 as numbers."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def rendered(indexes: Collection[int]) -> str:
    """Numbers as 1,2,4-6: two in a row are no range."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(_run(first, last) for first, last in runs)


def _run(first: int, last: int) -> str:
    return f"{first}{'-' if last > first + 1 else ','}{last}" if last > first else str(first)


def index_of(pod: Pod) -> int | None:
    return _number(pod, INDEX)


def failures_before(pod: Pod) -> int:
    """How often the pod's number had failed when the pod was made."""
    return _number(pod, FAILURES) or 0


def ignored_before(pod: Pod) -> int:
    return _number(pod, IGNORED) or 0


def _number(pod: Pod, annotation: str) -> int | None:
    text = pod.metadata.annotations.get(annotation, "")
    return int(text) if text.isdecimal() else None


def latest(pods: Iterable[Pod]) -> dict[int, Pod]:
    """The pod of each number that knows of most failures."""
    found: dict[int, Pod] = {}
    for pod in sorted(pods, key=lambda pod: (failures_before(pod) + ignored_before(pod), pod.metadata.name)):
        index = index_of(pod)
        if index is not None:
            found[index] = pod
    return found
