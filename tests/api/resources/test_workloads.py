"""StatefulSets and CronJobs: what the recorded ones do not say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.meta import copied
from clusterip.api.resources.batch import JOB
from clusterip.api.resources.cronjobs import CRON_JOB
from clusterip.api.resources.statefulsets import STATEFUL_SET

ROLLING, CLAIMS = "spec.updateStrategy.rollingUpdate", "persistentVolumeClaimRetentionPolicy"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
POD = {"containers": [{"name": "c", "image": "nginx"}]}


def stateful(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": copied(POD)}
    tree = {
        "metadata": {"name": "w"},
        "spec": {"selector": {"matchLabels": {"app": "w"}}, "template": template, **spec},
    }
    STATEFUL_SET.default(tree)
    return tree


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, []),
        ({"replicas": -1}, ["spec.replicas"]),
        ({"ordinals": {"start": -1}}, ["spec.ordinals.start"]),
        ({"serviceName": "Not A Name"}, ["spec.serviceName"]),
        ({"updateStrategy": {"type": "Odd"}}, ["spec.updateStrategy"]),
        ({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}}, [ROLLING]),
        (
            {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}},
            [f"{ROLLING}.maxUnavailable"],
        ),
        (
            {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Keep"}},
            [f"spec.{CLAIMS}.whenScaled"],
        ),
        ({"selector": None}, ["spec.selector", "spec.template.metadata.labels"]),
    ],
)
def test_stateful_sets(spec: dict[str, Any], fields: list[str]) -> None:
    assert [error.field for error in STATEFUL_SET.validate(stateful(**spec))] == fields


def test_what_of_a_stateful_set_may_change() -> None:
    assert STATEFUL_SET.validate_update(stateful(replicas=3, minReadySeconds=1), stateful()) == []
    assert STATEFUL_SET.validate_update(stateful(podManagementPolicy="Parallel"), stateful())


def cron(schedule: str = "* * * * *", **spec: Any) -> dict[str, Any]:
    pod = {**copied(POD), "restartPolicy": "Never"}
    tree = {
        "metadata": {"name": "j"},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": {"spec": pod}}}, **spec},
    }
    CRON_JOB.default(tree)
    return tree


@pytest.mark.parametrize(
    ("tree", "fields"),
    [
        (cron(), []),
        (cron(""), ["spec.schedule"]),
        (cron("TZ=UTC * * * * *"), ["spec.schedule"]),
        (cron(timeZone="Mars/Olympus"), ["spec.timeZone"]),
        (cron(timeZone="Local"), ["spec.timeZone"]),
        (cron(timeZone="Europe/Berlin"), []),
        (cron(concurrencyPolicy="Sometimes"), ["spec.concurrencyPolicy"]),
        (cron(successfulJobsHistoryLimit=-1), ["spec.successfulJobsHistoryLimit"]),
    ],
)
def test_cron_jobs(tree: dict[str, Any], fields: list[str]) -> None:
    assert [error.field for error in CRON_JOB.validate(tree)] == fields


def test_pods_of_cron_jobs_end() -> None:
    tree = cron()
    tree["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    assert [error.field for error in CRON_JOB.validate(tree)] == ["spec.jobTemplate.spec.template.spec.restartPolicy"]


def test_names_leave_room_for_jobs() -> None:
    assert CRON_JOB.name_rule("a" * 53, False)
    assert not CRON_JOB.name_rule("a" * 52, False)


def test_what_is_shown() -> None:
    tree = cron()
    tree["status"] = {"active": [{}], "lastScheduleTime": "2025-12-31T23:59:00Z"}
    cells = [column.cell(tree, NOW) for column in CRON_JOB.columns]
    assert cells[1:6] == ["* * * * *", "<none>", "False", 1, "60s"]


@pytest.mark.parametrize(("own", "generated"), [(None, 5), ({"app": "j"}, 1)])
def test_a_job_without_labels_has_those_of_its_pods_generated_ones_too(own: Any, generated: int) -> None:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {**copied(POD), "restartPolicy": "Never"}}
    tree = {"metadata": {"name": "j", "uid": "u", "labels": own}, "spec": {"template": template}}
    JOB.default(tree)
    JOB.prepare_create(tree)
    assert len(tree["metadata"]["labels"]) == generated
    assert len(tree["spec"]["template"]["metadata"]["labels"]) == 5
