"""The pods of a StatefulSet: their names, how a new one looks, which of them serve.

Stage: plan.  In: a StatefulSet, a template, an ordinal, pods.  Out: trees, numbers, answers.
Rules: pure; the ordinal is part of the name and is never given twice at a time.
Truth: apps/v1 StatefulSet; labels statefulset.kubernetes.io/pod-name and apps.kubernetes.io/pod-index.
"""

from __future__ import annotations

import re
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.client.names import STATEFUL_SETS
from clusterip.controllers.model import Pod
from clusterip.controllers.model_workloads import StatefulSet
from clusterip.controllers.pods import is_available, new_pod
from clusterip.controllers.statefulset_claims import claim_name

REVISION_LABEL = "controller-revision-hash"
NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_NAMED = re.compile(r"(.*)-([0-9]+)", re.DOTALL)


def parent_and_ordinal(name: str) -> tuple[str, int]:
    """`web-3` as ("web", 3); -1 for a name without a number."""
    found = _NAMED.fullmatch(name)
    return (found[1], int(found[2])) if found else ("", -1)


def ordinal_of(pod: Pod) -> int:
    return parent_and_ordinal(pod.metadata.name)[1]


def is_member(stateful: StatefulSet, pod: Pod) -> bool:
    """Whether a pod has the set's name and a number."""
    return parent_and_ordinal(pod.metadata.name)[0] == stateful.metadata.name


def pod_name(stateful: StatefulSet, ordinal: int) -> str:
    return f"{stateful.metadata.name}-{ordinal}"


def ordinals(stateful: StatefulSet) -> range:
    """The numbers that the spec asks for."""
    first = stateful.spec.ordinals.get("start", 0)
    return range(first, first + stateful.spec.replicas)


def revision_of(pod: Pod) -> str:
    return pod.metadata.labels.get(REVISION_LABEL, "")


def identity_labels(name: str) -> dict[str, str]:
    return {NAME_LABEL: name, INDEX_LABEL: str(parent_and_ordinal(name)[1])}


def new_stateful_pod(stateful: StatefulSet, template: Tree, revision: str, ordinal: int) -> Tree:
    """A pod of the template with the name, the DNS name and the claims that belong to the ordinal."""
    name = pod_name(stateful, ordinal)
    tree = new_pod(STATEFUL_SETS, stateful.metadata, template)
    metadata, spec = tree["metadata"], tree["spec"]
    metadata["name"] = name
    metadata["labels"] |= {**identity_labels(name), REVISION_LABEL: revision}
    spec["hostname"] = name
    if stateful.spec.service_name:
        spec["subdomain"] = stateful.spec.service_name
    else:
        spec.pop("subdomain", None)
    if claimed := _claimed(stateful, name):
        names = {volume["name"] for volume in claimed}
        spec["volumes"] = claimed + [volume for volume in spec.get("volumes") or () if volume["name"] not in names]
    return tree


def _claimed(stateful: StatefulSet, name: str) -> list[Tree]:
    return [
        {
            "name": template["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim_name(template, name)},
        }
        for template in stateful.spec.volume_claim_templates
    ]


def is_running_and_ready(pod: Pod) -> bool:
    return pod.status.phase == "Running" and pod.is_ready


def is_unavailable(pod: Pod | None, min_ready_seconds: int, now: datetime) -> bool:
    """Missing, on its way out, or not ready for long enough."""
    return pod is None or pod.metadata.is_terminating or not is_available(pod, min_ready_seconds, now)
