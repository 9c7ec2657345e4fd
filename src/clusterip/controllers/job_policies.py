"""The rules that a Job's author gave: what the failure of a pod means, and when enough of them succeeded.

Stage: plan.  In: a Job, a failed pod; numbers that succeeded.  Out: an action with its words; words or None.
Rules: pure; the first rule that fits decides.
Truth: batch/v1 PodFailurePolicy (KEP-3329) and SuccessPolicy (KEP-3998).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from clusterip.api.meta import Tree
from clusterip.controllers.job_indexes import parsed
from clusterip.controllers.model import ContainerStatus, Pod
from clusterip.controllers.model_workloads import Job

FAIL_JOB, FAIL_INDEX, IGNORE, COUNT = "FailJob", "FailIndex", "Ignore", "Count"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a failure means to the Job; words only where they end it."""

    action: str = COUNT
    words: str = ""


PLAIN = Meaning()


def meaning(job: Job, pod: Pod) -> Meaning:
    """The action of the first rule that fits a failed pod; it counts when none does."""
    for number, rule in enumerate((job.spec.pod_failure_policy or {}).get("rules") or ()):
        if words := _fits(rule, pod):
            action = rule["action"]
            return Meaning(action, f"{words} matching {action} rule at index {number}" if action == FAIL_JOB else "")
    return PLAIN


def is_failed(job: Job, pod: Pod) -> bool:
    """Whether a pod's end is a failure; one that is only on its way out is one where nothing else is said."""
    if pod.status.phase == "Failed":
        return True
    return not awaits_ends(job) and pod.metadata.is_terminating and pod.status.phase != "Succeeded"


def awaits_ends(job: Job) -> bool:
    """Whether pods on their way out are neither counted nor replaced before they have ended."""
    return job.spec.pod_replacement_policy == "Failed" or job.spec.pod_failure_policy is not None


def _fits(rule: Tree, pod: Pod) -> str:
    meta, status = pod.metadata, pod.status
    if (codes := rule.get("onExitCodes")) is not None:
        found = _exited(codes, (*status.container_statuses, *status.init_container_statuses))
        if found is None or found.state.terminated is None:
            return ""
        code = found.state.terminated.exit_code
        return f"Container {found.name} for pod {meta.namespace}/{meta.name} failed with exit code {code}"
    wanted = {(pattern.get("type"), pattern.get("status", "True")) for pattern in rule.get("onPodConditions") or ()}
    condition = next((held for held in status.conditions if (held.type, held.status) in wanted), None)
    return f"Pod {meta.namespace}/{meta.name} has condition {condition.type}" if condition else ""


def _exited(codes: Tree, statuses: Iterable[ContainerStatus]) -> ContainerStatus | None:
    """The first container that ended with such a code."""
    name, values = codes.get("containerName"), codes.get("values") or ()
    for status in statuses:
        ended = status.state.terminated
        if ended is None or ended.exit_code == 0 or name not in (None, status.name):
            continue
        if (ended.exit_code in values) == (codes.get("operator") == "In"):
            return status
    return None


def succeeded(job: Job, indexes: Collection[int]) -> str | None:
    """The words of the first rule that the succeeded numbers satisfy."""
    for number, rule in enumerate((job.spec.success_policy or {}).get("rules") or ()):
        wanted, least = rule.get("succeededIndexes"), rule.get("succeededCount")
        among = set(indexes) if wanted is None else parsed(wanted) & set(indexes)
        if least is None:
            least = len(parsed(wanted or ""))
        if len(among) >= least > 0:
            return f"Matched rules at index {number}"
    return None
