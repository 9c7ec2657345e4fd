"""StatefulSets: one pod after the other, names that stay, claims that stay or go, rollouts that stop at a partition."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from clusterip.client.names import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, STATEFUL_SETS
from clusterip.controllers.model import Pod
from clusterip.controllers.model_volumes import VolumeClaim
from clusterip.controllers.model_workloads import ControllerRevision, StatefulSet
from clusterip.controllers.statefulset import reconcile
from clusterip.controllers.statefulset_pods import parent_and_ordinal
from clusterip.controllers.writes import Create, Delete, Patch
from controllers.cluster import PODS, cluster, service, workload

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
LONG_AGO = "2026-01-01T00:00:00Z"
CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {}}}


# -- the decision ----------------------------------------------------------------------------------------------------


def stateful(image="nginx", status=None, **spec):
    tree = workload("StatefulSet", "web", pod={"image": image}, **spec)
    tree["metadata"] |= {"namespace": "ns", "uid": "set", "generation": 1}
    tree["spec"].setdefault("replicas", 3)
    tree["spec"].setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    return msgspec.convert({**tree, "status": status or {}}, StatefulSet)


def made(found, revision=None, phase="Running", ready=True, ordinal=0, leaving=False, since=LONG_AGO):
    name = f"web-{ordinal}"
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": since}
    labels = {"app": "web", "controller-revision-hash": revision or "r", "statefulset.kubernetes.io/pod-name": name}
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "set", "controller": True}
    meta = {"name": name, "namespace": "ns", "uid": f"pod-{ordinal}", "labels": labels, "ownerReferences": [owner]}
    if leaving:
        meta["deletionTimestamp"] = LONG_AGO
    return msgspec.convert({"metadata": meta, "status": {"phase": phase, "conditions": [condition]}}, Pod)


def kept(found, name="r", number=1):
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "set", "controller": True}
    meta = {"name": name, "namespace": "ns", "labels": {"app": "web"}, "ownerReferences": [owner]}
    data = {"spec": {"template": {**found.spec.template, "$patch": "replace"}}}
    return msgspec.convert({"metadata": meta, "data": data, "revision": number}, ControllerRevision)


def steps(found, *pods, revisions=None, claims=()):
    """What is made (+) and deleted (-), and which claims (c) are made."""
    outcome = reconcile(found, pods, [kept(found)] if revisions is None else revisions, dict(claims), NOW)
    said = []
    for write in outcome.writes:
        if isinstance(write, Create) and write.ref in (PODS, PERSISTENT_VOLUME_CLAIMS):
            said.append(("+" if write.ref is PODS else "c") + write.tree["metadata"]["name"])
        elif isinstance(write, Delete):
            said.append("-" + write.name)
    return " ".join(said)


@pytest.mark.parametrize(
    ("policy", "pods", "wanted"),
    [
        ("OrderedReady", [], "+web-0"),
        ("OrderedReady", [{"ready": False}], ""),
        ("OrderedReady", [{}], "+web-1"),
        ("OrderedReady", [{"leaving": True}], ""),
        ("OrderedReady", [{}, {"ordinal": 2}], "+web-1"),
        ("OrderedReady", [{"phase": "Failed", "ready": False}], "-web-0"),
        ("OrderedReady", [{"ordinal": n} for n in range(5)], "-web-4"),
        ("OrderedReady", [*({"ordinal": n} for n in range(4)), {"ordinal": 4, "leaving": True}], ""),
        ("OrderedReady", [*({"ordinal": n} for n in range(4)), {"ordinal": 4, "ready": False}], "-web-4"),
        ("OrderedReady", [{}, {"ordinal": 1, "ready": False}, {"ordinal": 2}, {"ordinal": 3, "ready": False}], ""),
        ("Parallel", [], "+web-0 +web-1 +web-2"),
        ("Parallel", [{"ready": False}, {"ordinal": 4, "ready": False}, {"ordinal": 3}], "+web-1 +web-2 -web-4 -web-3"),
    ],
)
def test_order(policy, pods, wanted):
    found = stateful(podManagementPolicy=policy)
    assert steps(found, *(made(found, **pod) for pod in pods)) == wanted


def test_numbers_may_start_elsewhere():
    found = stateful(ordinals={"start": 5}, replicas=2)
    assert steps(found) == "+web-5"
    assert steps(found, made(found, ordinal=5)) == "+web-6"
    assert steps(found, made(found, ordinal=5), made(found, ordinal=6), made(found, ordinal=0)) == "-web-0"


def test_availability_takes_its_time():
    found = stateful(minReadySeconds=10)
    early = made(found, since="2026-01-01T00:59:55Z")
    assert steps(found, early) == ""
    outcome = reconcile(found, [early], [kept(found)], {}, NOW)
    assert outcome.again is not None
    assert 4 < outcome.again < 6


@pytest.mark.parametrize(
    ("strategy", "pods", "wanted"),
    [
        ({}, [{}, {}, {}], "-web-2"),
        ({}, [{}, {}, {"revision": "new", "ready": False}], ""),
        ({}, [{}, {}, {"revision": "new"}], "-web-1"),
        ({"partition": 2}, [{}, {}, {"revision": "new"}], ""),
        ({"maxUnavailable": 2}, [{}, {}, {}], "-web-2 -web-1"),
        ({"maxUnavailable": "10%"}, [{}, {}, {}], "-web-2"),
    ],
)
def test_rollout(strategy, pods, wanted):
    old = stateful()
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, **strategy}}
    found = stateful("nginx:2", updateStrategy=rolling, status={"currentRevision": "r"})
    there = [made(found, ordinal=number, **pod) for number, pod in enumerate(pods)]
    assert steps(found, *there, revisions=[kept(old), kept(found, "new", 2)]) == wanted


def test_on_delete_waits_for_the_deletion():
    old, found = stateful(), stateful("nginx:2", updateStrategy={"type": "OnDelete"}, status={"currentRevision": "r"})
    there = [made(found, ordinal=number) for number in range(3)]
    assert steps(found, *there, revisions=[kept(old), kept(found, "new", 2)]) == ""


def test_below_the_partition_the_former_template_is_made_anew():
    old = stateful()
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    found = stateful("nginx:2", updateStrategy=rolling, status={"currentRevision": "r"})
    revisions = [kept(old), kept(found, "new", 2)]
    writes = reconcile(found, [], revisions, {}, NOW).writes
    pod = next(write.tree for write in writes if isinstance(write, Create))
    assert pod["spec"]["containers"][0]["image"] == "nginx"
    assert pod["metadata"]["labels"]["controller-revision-hash"] == "r"


def test_going_back_raises_the_former_revision():
    old, new = stateful(status={"currentRevision": "new"}), stateful("nginx:2")
    writes = reconcile(old, [], [kept(old), kept(new, "new", 2)], {}, NOW).writes
    raised = [write for write in writes if isinstance(write, Patch) and write.ref is CONTROLLER_REVISIONS]
    assert [(write.name, write.patch) for write in raised] == [("r", {"revision": 3})]


def claim_of(name, *owners, leaving=False):
    meta = {"name": name, "namespace": "ns", "uid": name, "ownerReferences": list(owners)}
    if leaving:
        meta["deletionTimestamp"] = LONG_AGO
    return name, msgspec.convert({"metadata": meta}, VolumeClaim)


def owner(kind, name, uid):
    version = "v1" if kind == "Pod" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True}


def test_claims_come_before_their_pod():
    found = stateful(volumeClaimTemplates=[CLAIM])
    assert steps(found) == "cdata-web-0 +web-0"
    assert steps(found, claims=[claim_of("data-web-0")]) == "+web-0"
    assert steps(found, claims=[claim_of("data-web-0", leaving=True)]) == ""


@pytest.mark.parametrize(
    ("scaled", "deleted", "here", "away"),
    [
        ("Retain", "Retain", None, None),
        ("Retain", "Delete", "set", "set"),
        ("Delete", "Retain", None, "pod-1"),
        ("Delete", "Delete", "set", "pod-1"),
    ],
)
def test_owners_of_claims(scaled, deleted, here, away):
    policy = {"whenScaled": scaled, "whenDeleted": deleted}
    found = stateful(volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy, replicas=1)
    claims = dict([claim_of("data-web-0"), claim_of("data-web-1")])
    pods = [made(found), made(found, ordinal=1)]
    patched = {
        write.name: write.patch["metadata"]["ownerReferences"][0]["uid"]
        for write in reconcile(found, pods, [kept(found)], claims, NOW).writes
        if isinstance(write, Patch) and write.ref is PERSISTENT_VOLUME_CLAIMS
    }
    assert patched == {name: uid for name, uid in (("data-web-0", here), ("data-web-1", away)) if uid}


def test_a_claim_that_goes_with_a_former_pod_is_waited_out():
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    found = stateful(volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy)
    assert steps(found, claims=[claim_of("data-web-0", owner("Pod", "web-0", "former"))]) == ""


def test_names():
    assert parent_and_ordinal("a-b-12") == ("a-b", 12)
    assert parent_and_ordinal("web") == ("", -1)
    assert parent_and_ordinal("web-x") == ("", -1)


# -- with the API ----------------------------------------------------------------------------------------------------


def running(scenario, *names, **options):
    async def go():
        async with cluster(*names, **options) as c:
            await scenario(c)

    asyncio.run(go())


def status(c):
    return (c.one(STATEFUL_SETS, "web") or {}).get("status", {})


def test_a_life():
    async def scenario(c):
        await c.create(service("web", clusterIP="None"))
        claim = {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        }
        await c.create(workload("StatefulSet", "web", replicas=3, serviceName="web", volumeClaimTemplates=[claim]))
        await c.until(lambda: status(c).get("availableReplicas") == 3)
        names = [pod["metadata"]["name"] for pod in c.pods()]
        assert names == ["web-0", "web-1", "web-2"]
        first = c.pods()[0]
        assert (first["spec"]["hostname"], first["spec"]["subdomain"]) == ("web-0", "web")
        assert first["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"
        assert first["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "data-web-0"}
        claims = [tree["metadata"]["name"] for tree in c.all(PERSISTENT_VOLUME_CLAIMS)]
        assert claims == ["data-web-0", "data-web-1", "data-web-2"]
        assert "Create Pod web-0 in StatefulSet web successful" in c.said("SuccessfulCreate")

        image = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:2"}]}}}}
        before = status(c)["currentRevision"]
        await c.patch(STATEFUL_SETS, "web", image, type="strategic")
        await c.until(lambda: status(c).get("currentRevision") != before and status(c).get("readyReplicas") == 3)
        assert status(c)["currentRevision"] == status(c)["updateRevision"]
        assert {pod["spec"]["containers"][0]["image"] for pod in c.pods()} == {"nginx:2"}
        assert len(c.all(CONTROLLER_REVISIONS)) == 2

        scale = {"spec": {"replicas": 1}}
        await c.patch(STATEFUL_SETS, "web", scale, subresource="scale")
        await c.until(lambda: len(c.pods()) == 1 and status(c).get("replicas") == 1)
        assert [pod["metadata"]["name"] for pod in c.pods()] == ["web-0"]
        assert len(c.all(PERSISTENT_VOLUME_CLAIMS)) == 3

        uid = c.pods()[0]["metadata"]["uid"]
        await c.client.delete(PODS, "web-0", "default")
        await c.until(lambda: c.pods() and c.pods()[0]["metadata"]["uid"] != uid and status(c).get("readyReplicas"))

    running(scenario, "statefulset", "scheduler", "serviceaccount", "nodelifecycle")


def test_claims_go_with_the_pods_that_are_scaled_away():
    async def scenario(c):
        claim = {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        }
        policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        more = {"persistentVolumeClaimRetentionPolicy": policy, "podManagementPolicy": "Parallel"}
        await c.create(workload("StatefulSet", "web", replicas=2, volumeClaimTemplates=[claim], **more))
        await c.until(lambda: status(c).get("availableReplicas") == 2)
        await c.patch(STATEFUL_SETS, "web", {"spec": {"replicas": 1}})
        await c.until(lambda: [t["metadata"]["name"] for t in c.all(PERSISTENT_VOLUME_CLAIMS)] == ["data-web-0"])
        await c.client.delete(STATEFUL_SETS, "web", "default")
        await c.until(lambda: not c.pods() and not c.all(PERSISTENT_VOLUME_CLAIMS))

    running(scenario)
