"""Numbers of indexed Jobs: counted for each, given up one by one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from clusterip.controllers.job import reconcile
from clusterip.controllers.job_indexes import failures_before, index_of, latest, parsed, rendered
from clusterip.controllers.model import Pod
from clusterip.controllers.model_workloads import Job
from clusterip.controllers.writes import Create, Patch
from controllers.cluster import JOBS, cluster
from controllers.test_job import conditions, finish, is_running, job

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)


def indexed(status=None, **spec):
    tree = job(completionMode="Indexed", completions=2, parallelism=2, backoffLimit=2**31 - 1, **spec)
    tree["metadata"] |= {"namespace": "ns", "uid": "job"}
    return msgspec.convert({**tree, "status": {"startTime": "2026-01-01T00:00:00Z", **(status or {})}}, Job)


def pod(index, phase="Failed", failures=0, tracked=True, name="", code=1):
    annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
    annotations["batch.kubernetes.io/job-index-failure-count"] = str(failures)
    meta = {"name": name or f"p-{index}-{failures}", "namespace": "ns", "annotations": annotations}
    meta |= {"uid": meta["name"], "finalizers": ["batch.kubernetes.io/job-tracking"] if tracked else []}
    terminated = {"exitCode": code, "finishedAt": "2026-01-01T00:30:00Z"}
    statuses = [{"name": "c", "state": {"terminated": terminated}}] if phase == "Failed" else []
    return msgspec.convert({"metadata": meta, "status": {"phase": phase, "containerStatuses": statuses}}, Pod)


def told(found, *pods):
    """The status that is written, and the failures that new pods carry on, by number."""
    writes = reconcile(found, pods, NOW).writes
    status = next((write.patch["status"] for write in writes if isinstance(write, Patch) and write.ref is JOBS), {})
    made = {}
    for write in writes:
        if isinstance(write, Create):
            notes = write.tree["metadata"]["annotations"]
            index = notes["batch.kubernetes.io/job-completion-index"]
            made[int(index)] = notes.get("batch.kubernetes.io/job-index-failure-count")
    return status, made


def reasons(status):
    return [condition["reason"] for condition in status.get("conditions") or ()]


def test_each_number_has_its_own_failures():
    found = indexed(backoffLimitPerIndex=1)
    assert told(found)[1] == {0: "0", 1: "0"}
    status, made = told(found, pod(0), pod(1, "Running"))
    assert made == {0: "1"}
    assert status["failedIndexes"] == ""
    assert status["uncountedTerminatedPods"] == {}  # it carries the count until the next pod does


def test_a_number_is_given_up_and_the_others_go_on():
    status, made = told(indexed(backoffLimitPerIndex=1), pod(0, failures=1), pod(1, "Running"))
    assert (status["failedIndexes"], made, reasons(status)) == ("0", {}, [])
    assert status["uncountedTerminatedPods"] == {"failed": ["p-0-1"]}


def test_failed_numbers_fail_the_job_when_all_are_through():
    status, _ = told(indexed(backoffLimitPerIndex=0), pod(0), pod(1, "Succeeded"))
    assert reasons(status) == ["FailedIndexes"]


def test_too_many_failed_numbers_end_it_early():
    status, _ = told(indexed(backoffLimitPerIndex=0, maxFailedIndexes=0), pod(0), pod(1, "Running"))
    assert reasons(status) == ["MaxFailedIndexesExceeded"]


def test_a_job_of_somebody_else_is_left_alone():
    assert told(indexed(managedBy="example.com/other")) == ({}, {})


def test_the_latest_pod_of_a_number():
    assert {index: failures_before(found) for index, found in latest([pod(0, failures=2), pod(0), pod(1)]).items()} == {
        0: 2,
        1: 0,
    }
    assert index_of(pod(7)) == 7


@pytest.mark.parametrize("text", ["", "0", "0-2,5,7,8"])
def test_text(text):
    assert rendered(parsed(text)) == text


def test_with_the_api():
    async def scenario():
        async with cluster() as c:
            await c.create(job(completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=0))
            await c.until(lambda: len([found for found in c.pods() if is_running(found)]) == 2)
            first, second = sorted(c.pods(), key=lambda found: found["metadata"]["name"])
            await finish(c, first, "Failed")
            await finish(c, second)
            await c.until(lambda: "Failed" in conditions(c.one(JOBS, "work")))
            status = c.one(JOBS, "work")["status"]
            assert (status["failedIndexes"], status["completedIndexes"]) == ("0", "1")
            assert (status["failed"], status["succeeded"]) == (1, 1)

    asyncio.run(scenario())
