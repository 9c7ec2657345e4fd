"""Jobs against the true API: each end of a pod counts once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.controllers.job import reconcile
from clusterip.controllers.job_indexes import parsed, rendered
from clusterip.controllers.model import decoder
from clusterip.controllers.model_workloads import Job
from controllers.cluster import JOBS, PODS, cluster


def job(name="work", pod=None, **spec):
    container = {"name": "c", "image": "busybox", "command": ["true"]}
    template = {"spec": {"containers": [container], "restartPolicy": "Never", **(pod or {})}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def running(scenario, **options):
    async def go():
        async with cluster(**options) as c:
            await scenario(c)

    asyncio.run(go())


async def finish(c, pod, phase="Succeeded", finished="2020-01-01T00:00:00Z"):
    state = {"terminated": {"exitCode": 0 if phase == "Succeeded" else 1, "finishedAt": finished, "reason": "x"}}
    statuses = [{"name": "c", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}]
    status = {
        "phase": phase,
        "containerStatuses": statuses,
        "conditions": [{"type": "Ready", "status": "False", "reason": "PodCompleted"}],
    }
    await c.patch(PODS, pod["metadata"]["name"], {"status": status}, subresource="status")


def is_running(pod):
    return pod.get("status", {}).get("phase") == "Running"


def conditions(tree):
    return [c["type"] for c in (tree or {}).get("status", {}).get("conditions", []) if c["status"] == "True"]


def test_one_pod_to_its_end():
    async def scenario(c):
        await c.create(job())
        await c.until(lambda: [p for p in c.pods() if is_running(p)])
        (pod,) = c.pods()
        assert pod["metadata"]["name"].startswith("work-")
        await c.until(lambda: c.one(JOBS, "work")["status"].get("active") == 1)
        await finish(c, pod)
        await c.until(lambda: "Complete" in conditions(c.one(JOBS, "work")))
        status = c.one(JOBS, "work")["status"]
        assert (status["succeeded"], status.get("active"), status.get("failed")) == (1, None, None)
        assert conditions(c.one(JOBS, "work")) == ["SuccessCriteriaMet", "Complete"]
        assert status["completionTime"]
        assert not c.pods()[0]["metadata"].get("finalizers")
        await c.until(lambda: c.said("Completed") == ["Job completed"])
        assert c.said("SuccessfulCreate") == [f"Created pod: {pod['metadata']['name']}"]

    running(scenario)


def test_an_orphan_comes_back_and_a_relabelled_pod_goes():
    async def scenario(c):
        await c.create(job(parallelism=1, completions=2))
        await c.until(lambda: [p for p in c.pods() if is_running(p)])
        (pod,) = c.pods()
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        await c.patch(PODS, name, {"metadata": {"ownerReferences": None, "finalizers": None}})
        await c.until(lambda: c.one(PODS, name)["metadata"].get("ownerReferences"))
        found = c.one(PODS, name)["metadata"]
        assert [owner["uid"] for owner in found["ownerReferences"]] == [c.one(JOBS, "work")["metadata"]["uid"]]
        assert found["finalizers"] == ["batch.kubernetes.io/job-tracking"]
        await c.patch(PODS, name, {"metadata": {"labels": dict.fromkeys(labels)}})
        await c.until(lambda: not c.one(PODS, name)["metadata"].get("ownerReferences"))
        await c.until(lambda: not c.one(PODS, name)["metadata"].get("finalizers"))
        await c.until(lambda: len(c.pods()) == 2)

    running(scenario)


def test_completions_and_parallelism():
    async def scenario(c):
        await c.create(job(completions=3, parallelism=2))
        for done in range(3):
            await c.until(lambda done=done: len([p for p in c.pods() if is_running(p)]) == min(2, 3 - done))
            await finish(c, next(p for p in c.pods() if is_running(p)))
        await c.until(lambda: "Complete" in conditions(c.one(JOBS, "work")))
        assert c.one(JOBS, "work")["status"]["succeeded"] == 3
        assert len(c.pods()) == 3

    running(scenario)


def test_backoff_limit():
    async def scenario(c):
        await c.create(job(backoffLimit=1))
        for _ in range(2):
            await c.until(lambda: [p for p in c.pods() if is_running(p)])
            await finish(c, next(p for p in c.pods() if is_running(p)), "Failed")
        await c.until(lambda: "Failed" in conditions(c.one(JOBS, "work")))
        assert c.one(JOBS, "work")["status"]["failed"] == 2
        await c.until(lambda: c.said("BackoffLimitExceeded") == ["Job has reached the specified backoff limit"])

    running(scenario)


def test_a_finished_pod_that_is_deleted_still_counts():
    async def scenario(c):
        await c.create(job(completions=2, parallelism=1))
        await c.until(lambda: [p for p in c.pods() if is_running(p)])
        first = c.pods()[0]
        await finish(c, first)
        await c.client.delete(PODS, first["metadata"]["name"], "default")
        await c.until(lambda: [p for p in c.pods() if is_running(p)])
        await finish(c, next(p for p in c.pods() if is_running(p)))
        await c.until(lambda: "Complete" in conditions(c.one(JOBS, "work")))
        assert c.one(JOBS, "work")["status"]["succeeded"] == 2

    running(scenario)


def test_deadline():
    async def scenario(c):
        await c.create(job(activeDeadlineSeconds=1))
        await c.until(lambda: "Failed" in conditions(c.one(JOBS, "work")))
        assert c.one(JOBS, "work")["status"]["conditions"][-1]["reason"] == "DeadlineExceeded"
        await c.until(lambda: not [p for p in c.pods() if is_running(p)])

    running(scenario)


def test_after_its_deadline_a_job_is_not_looked_at_again_until_something_changes():
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    late = {
        "metadata": {"name": "work", "namespace": "default", "uid": "u"},
        "spec": {"activeDeadlineSeconds": 1, "template": {}},
        "status": {"startTime": "2026-01-01T11:00:00Z"},
    }
    assert reconcile(decoder(Job)(late), [], now).again is None


def test_time_to_live():
    async def scenario(c):
        await c.create(job(ttlSecondsAfterFinished=0))
        await c.until(lambda: [p for p in c.pods() if is_running(p)])
        await finish(c, c.pods()[0])
        await c.until(lambda: c.one(JOBS, "work") is None and not c.pods())

    running(scenario)


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_deleting_the_job_ends_its_pods(policy):
    async def scenario(c):
        await c.create(job())
        await c.until(lambda: [p for p in c.pods() if is_running(p)])
        await c.client.delete(JOBS, "work", "default", propagation=policy)
        await c.until(lambda: c.one(JOBS, "work") is None and not c.pods())

    running(scenario)


def test_indexed():
    async def scenario(c):
        await c.create(job(completions=3, parallelism=3, completionMode="Indexed"))
        await c.until(lambda: len([p for p in c.pods() if is_running(p)]) == 3)
        names = [p["metadata"]["name"] for p in c.pods()]
        assert [name.startswith(f"work-{index}-") for index, name in enumerate(names)] == [True] * 3
        assert c.pods()[1]["spec"]["hostname"] == "work-1"
        for pod in c.pods():
            await finish(c, pod)
        await c.until(lambda: "Complete" in conditions(c.one(JOBS, "work")))
        assert c.one(JOBS, "work")["status"]["completedIndexes"] == "0-2"

    running(scenario)


def test_suspended_and_resumed():
    async def scenario(c):
        await c.create(job(suspend=True))
        await c.until(lambda: "Suspended" in conditions(c.one(JOBS, "work")))
        assert not c.pods()
        await c.patch(JOBS, "work", {"spec": {"suspend": False}})
        await c.until(lambda: [p for p in c.pods() if is_running(p)])

    running(scenario)


@given(st.sets(st.integers(0, 60)))
def test_indexes_as_text_and_back(indexes):
    assert parsed(rendered(indexes)) == indexes
