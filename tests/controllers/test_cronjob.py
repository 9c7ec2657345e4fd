"""CronJobs: when a Job is made, when not, what is told, what is kept."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from clusterip.client.names import CRON_JOBS
from clusterip.controllers.cronjob import reconcile
from clusterip.controllers.model_workloads import CronJob, Job
from clusterip.controllers.writes import Create, Delete, Patch
from controllers.cluster import JOBS, cluster

NOW = datetime(2026, 1, 1, 12, 30, 10, tzinfo=UTC)
DUE = f"tick-{int(datetime(2026, 1, 1, 12, 30, tzinfo=UTC).timestamp()) // 60}"
CONTAINER = {"name": "c", "image": "busybox"}
JOB_TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {"containers": [CONTAINER]}}}}


def cron(schedule="*/10 * * * *", last="2026-01-01T12:20:00Z", active=(), **spec):
    status = {"lastScheduleTime": last, "active": [{"name": name, "uid": f"uid-{name}"} for name in active]}
    meta = {"name": "tick", "namespace": "ns", "uid": "cron", "creationTimestamp": "2026-01-01T12:00:00Z"}
    spec = {"schedule": schedule, "jobTemplate": JOB_TEMPLATE, **spec}
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, CronJob)


def job(name, ended="", start="2026-01-01T12:00:00Z"):
    conditions = [{"type": ended, "status": "True"}] if ended else []
    status = {"conditions": conditions, "startTime": start, "completionTime": "2026-01-01T12:29:00Z"}
    return msgspec.convert({"metadata": {"name": name, "uid": f"uid-{name}"}, "status": status}, Job)


def steps(found, *jobs, now=NOW):
    said = []
    for write in reconcile(found, jobs, now).writes:
        if isinstance(write, Create):
            said.append("+" + write.tree["metadata"]["name"])
        elif isinstance(write, Delete):
            said.append("-" + write.name)
        elif not isinstance(write, Patch):
            said.append(write.said.reason)
    return " ".join(said)


@pytest.mark.parametrize(
    ("spec", "jobs", "wanted"),
    [
        ({}, [], f"+{DUE}"),
        ({"last": "2026-01-01T12:30:00Z"}, [], ""),
        ({"suspend": True}, [], ""),
        ({"startingDeadlineSeconds": 30}, [], f"+{DUE}"),
        ({"startingDeadlineSeconds": 5}, [], ""),
        ({"last": None, "schedule": "0 0 * * *"}, [], ""),
        ({"timeZone": "Mars/Olympus"}, [], "UnknownTimeZone"),
        ({"schedule": "nonsense"}, [], "UnparseableSchedule"),
        ({"schedule": "* * * * *", "last": "2026-01-01T06:00:00Z"}, [], f"TooManyMissedTimes +{DUE}"),
        ({"active": ["a"]}, [("a",)], f"+{DUE}"),
        ({"active": ["a"], "concurrencyPolicy": "Forbid"}, [("a",)], "JobAlreadyActive"),
        ({"active": ["a"], "concurrencyPolicy": "Replace"}, [("a",)], f"-a +{DUE}"),
        ({"active": ["a"], "suspend": True}, [], "MissingJob"),
        ({"active": ["a"], "suspend": True}, [("a", "Complete")], "SawCompletedJob"),
        ({"suspend": True}, [("stranger",)], "UnexpectedJob"),
        (
            {"suspend": True, "successfulJobsHistoryLimit": 1},
            [("b", "Complete", "2026-01-01T11:00:00Z"), ("a", "Complete"), ("c", "Failed")],
            "-b",
        ),
        ({"suspend": True, "failedJobsHistoryLimit": 0}, [("c", "Failed")], "-c"),
    ],
)
def test_steps(spec, jobs, wanted):
    assert steps(cron(**spec), *(job(*each) for each in jobs)) == wanted


def test_what_is_made():
    outcome = reconcile(cron(timeZone="Europe/Berlin"), [], NOW)
    made = next(write.tree for write in outcome.writes if isinstance(write, Create))
    assert made["metadata"]["annotations"] == {
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T13:30:00+01:00"
    }
    assert made["metadata"]["labels"] == {"a": "b"}
    assert made["spec"] == JOB_TEMPLATE["spec"]
    assert outcome.again == pytest.approx(590.1)


def test_what_was_made_is_active_until_it_ends():
    (patch,) = reconcile(cron(last="2026-01-01T12:30:00Z"), [job(DUE)], NOW).writes
    assert [reference["name"] for reference in patch.patch["status"]["active"]] == [DUE]
    done = job(DUE, "Complete")
    *_, patch = reconcile(cron(last="2026-01-01T12:30:00Z", active=[DUE]), [done], NOW).writes
    assert patch.patch["status"] == {"active": None, "lastSuccessfulTime": "2026-01-01T12:29:00Z"}


def test_with_the_api():
    async def scenario():
        async with cluster("cronjob", "job", "scheduler", "serviceaccount", "nodelifecycle") as c:
            spec = {"containers": [CONTAINER], "restartPolicy": "Never"}
            template = {"spec": {"template": {"spec": spec}}}
            tree = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}}
            await c.create({**tree, "spec": {"schedule": "0 0 1 1 *", "jobTemplate": template}})
            last = {"status": {"lastScheduleTime": "2020-06-01T00:00:00Z"}}
            await c.patch(CRON_JOBS, "tick", last, subresource="status")
            await c.until(lambda: c.one(CRON_JOBS, "tick").get("status", {}).get("active"))
            (made,) = c.all(JOBS)
            await c.until(lambda: c.pods() and c.pods()[0]["status"]["phase"] == "Running")
            await c.run(c.pods()[0], ready=False, phase="Succeeded")
            await c.until(lambda: c.one(CRON_JOBS, "tick")["status"].get("lastSuccessfulTime"))
            await c.until(lambda: c.said("SawCompletedJob"))
            assert c.said("SuccessfulCreate")
            assert made["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
            assert not c.one(CRON_JOBS, "tick")["status"].get("active")

    asyncio.run(scenario())
