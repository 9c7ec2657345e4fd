"""Controllers of pods: Deployment, ReplicaSet, DaemonSet, Job and what they share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api import workload
from clusterip.api.meta import Tree, copied
from clusterip.api.resource import Resource
from clusterip.api.resources.apps import DAEMON_SET, DEPLOYMENT, REPLICA_SET, TEMPLATE_GENERATION
from clusterip.api.resources.batch import JOB

LABELS = {"app": "w"}
POD = {"containers": [{"name": "c", "image": "nginx"}]}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": POD}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def made(resource: Resource, **spec: Any) -> Tree:
    base = {} if resource is JOB else {"selector": {"matchLabels": LABELS}}
    template = {"spec": {**POD, "restartPolicy": "Never"}} if resource is JOB else TEMPLATE
    tree: Tree = copied({"metadata": {"name": "w", "uid": "u"}, "spec": {**base, "template": template, **spec}})
    resource.default(tree)
    resource.prepare_create(tree)
    return tree


def texts(resource: Resource, **spec: Any) -> list[str]:
    return sorted(map(str, resource.validate(made(resource, **spec))))


@pytest.mark.parametrize("resource", [DEPLOYMENT, REPLICA_SET, DAEMON_SET, JOB], ids=lambda r: r.plural)
def test_the_plain_one_is_right(resource: Resource) -> None:
    assert texts(resource) == []


S, T = "spec.strategy.rollingUpdate", "spec.template.metadata.labels"

REFUSED: list[tuple[Resource, Tree, list[str]]] = [
    (DEPLOYMENT, {"selector": None}, ["spec.selector: Required value", f"{T}: Invalid value"]),
    (
        DEPLOYMENT,
        {"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}},
        ["invalid label selector", "not a valid selector operator"],
    ),
    (DEPLOYMENT, {"strategy": {"type": "Other"}}, ['spec.strategy.type: Unsupported value: "Other"']),
    (
        DEPLOYMENT,
        {"strategy": {"rollingUpdate": {"maxSurge": "x"}}},
        [f'{S}.maxSurge: Invalid value: "x": a valid percent'],
    ),
    (
        DEPLOYMENT,
        {"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}},
        [f'{S}.maxUnavailable: Invalid value: "101%": must not be greater than 100%'],
    ),
    (
        DEPLOYMENT,
        {"minReadySeconds": 700},
        ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
    ),
    (REPLICA_SET, {"replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
    (REPLICA_SET, {"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
    (DAEMON_SET, {"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]),
    (
        DAEMON_SET,
        {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}},
        ["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable"],
    ),
    (
        DAEMON_SET,
        {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}},
        ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
    ),
    (JOB, {"completionMode": "Odd"}, ['spec.completionMode: Unsupported value: "Odd"']),
    (JOB, {"completionMode": "Indexed", "parallelism": 2}, ["spec.completions: Required value: when completion mode"]),
    (JOB, {"backoffLimit": -1}, ["spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"]),
    (JOB, {"manualSelector": True}, ["spec.selector: Required value"]),
]


@pytest.mark.parametrize(("resource", "spec", "expected"), REFUSED)
def test_refuses(resource: Resource, spec: Tree, expected: list[str]) -> None:
    found = texts(resource, **spec)
    for text in expected:
        assert any(text in error for error in found), found


@pytest.mark.parametrize("resource", [DEPLOYMENT, REPLICA_SET, DAEMON_SET], ids=lambda r: r.plural)
def test_a_selector_stays(resource: Resource) -> None:
    old = made(resource)
    new = copied(old)
    new["spec"]["selector"] = {"matchLabels": {"app": "w", "b": "c"}}
    resource.prepare_update(new, old)
    fields = {error.field: error for error in resource.validate_update(new, old)}
    assert fields["spec.selector"].detail == "field is immutable"


def test_annotations_of_a_deployment_are_a_new_generation() -> None:
    old = made(DEPLOYMENT)
    new = copied(old)
    new["metadata"]["annotations"] = {"a": "b"}
    DEPLOYMENT.prepare_update(new, old)
    assert new["metadata"]["generation"] == 2


def test_a_daemon_set_counts_its_templates() -> None:
    old = made(DAEMON_SET)
    new = copied(old)
    new["spec"]["minReadySeconds"] = 5
    DAEMON_SET.prepare_update(new, old)
    assert new["metadata"]["annotations"][TEMPLATE_GENERATION] == "1"
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    DAEMON_SET.prepare_update(new, old)
    assert new["metadata"]["annotations"][TEMPLATE_GENERATION] == "2"


def test_a_job_knows_its_pods_by_its_uid() -> None:
    tree = made(JOB)
    assert tree["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert tree["spec"]["template"]["metadata"]["labels"]["job-name"] == "w"


def test_a_selector_of_ones_own() -> None:
    template = {"metadata": {"labels": LABELS}, "spec": {**POD, "restartPolicy": "Never"}}
    spec = {"manualSelector": True, "selector": {"matchLabels": LABELS}, "template": template}
    assert texts(JOB, **spec) == []


def test_the_template_of_a_job_stays() -> None:
    old = made(JOB)
    new = copied(old)
    new["spec"]["template"]["spec"]["nodeSelector"] = {"a": "b"}
    new["spec"]["parallelism"] = 3
    assert [error.field for error in JOB.validate_update(new, old)] == ["spec.template"]
    old["spec"]["suspend"] = True
    assert JOB.validate_update(new, old) == []


def cells(resource: Resource, tree: Tree) -> dict[str, Any]:
    return {column.name: column.cell(tree, NOW) for column in resource.columns}


def test_the_table_of_a_deployment() -> None:
    tree = made(DEPLOYMENT, replicas=3)
    tree["status"] = {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}
    found = cells(DEPLOYMENT, tree)
    assert (found["Ready"], found["Up-to-date"], found["Available"], found["Selector"]) == ("2/3", 3, 1, "app=w")


JOBS: list[tuple[Tree, str, str]] = [
    ({}, "Running", ""),
    ({"startTime": "2026-01-02T03:04:00Z"}, "Running", "5s"),
    (
        {
            "conditions": [{"type": "Complete", "status": "True"}],
            "startTime": "2026-01-02T03:00:00Z",
            "completionTime": "2026-01-02T03:02:05Z",
        },
        "Complete",
        "2m5s",
    ),
    ({"conditions": [{"type": "Failed", "status": "True"}]}, "Failed", ""),
    ({"conditions": [{"type": "Suspended", "status": "True"}]}, "Suspended", ""),
]


@pytest.mark.parametrize(("status", "word", "duration"), JOBS)
def test_the_table_of_a_job(status: Tree, word: str, duration: str) -> None:
    found = cells(JOB, {**made(JOB), "status": status})
    assert (found["Status"], found["Duration"]) == (word, duration)


@pytest.mark.parametrize(
    ("spec", "text"),
    [({"completions": 3}, "1/3"), ({"parallelism": 2}, "1/1 of 2"), ({"parallelism": 1}, "1/1")],
)
def test_completions_of_a_job(spec: Tree, text: str) -> None:
    assert cells(JOB, {**made(JOB, **spec), "status": {"succeeded": 1}})["Completions"] == text


def test_amounts() -> None:
    assert [workload.amount(value) for value in (None, 0, 3, "25%", "x")] == [0, 0, 3, 25, 0]


def test_a_status_adds_up() -> None:
    status = {"replicas": 1, "readyReplicas": 2, "availableReplicas": 3}
    fields = [error.field for error in workload.replica_status_errors(status, "replicas", "readyReplicas")]
    assert fields == ["status.readyReplicas", "status.availableReplicas"]
