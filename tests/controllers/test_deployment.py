"""Deployments: the bounds of a rollout as properties, the rest against the true API."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterip.client.names import DEPLOYMENTS as REF
from clusterip.controllers.deployment import HASH_LABEL, REVISION, reconcile, template_hash
from clusterip.controllers.model_workloads import Deployment, ReplicaSet
from clusterip.controllers.rollout import max_surge, max_unavailable, share
from clusterip.controllers.writes import Create, Delete, Patch
from controllers.cluster import DEPLOYMENTS, REPLICA_SETS, cluster, template, workload

NOW = datetime(2026, 1, 1, tzinfo=UTC)

# -- hashes -----------------------------------------------------------------------------------------------------------


def test_equal_templates_have_equal_hashes():
    one, other = template("web"), template("web")
    other["metadata"]["creationTimestamp"] = None
    assert template_hash(one) == template_hash(other)
    assert template_hash(one) != template_hash(template("web", image="nginx:2"))
    assert template_hash(one) != template_hash(one, 1)


def test_the_hash_label_is_not_part_of_a_template():
    labelled = template("web")
    labelled["metadata"]["labels"] = {**labelled["metadata"]["labels"], HASH_LABEL: "x"}
    assert template_hash(labelled) == template_hash(template("web"))


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "of", "up", "expected"),
    [("25%", 3, True, 1), ("25%", 3, False, 0), (2, 3, True, 2), ("0%", 10, True, 0), ("100%", 4, False, 4)],
)
def test_share(value, of, up, expected):
    assert share(value, of, up=up) == expected


def deployment(replicas=3, surge="25%", unavailable="25%", image="nginx", **spec):
    tree = workload("Deployment", "web", replicas=replicas, **spec)
    tree["spec"]["template"] = template("web", image)
    tree["spec"].setdefault("strategy", {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    tree["metadata"] |= {"namespace": "default", "uid": "d", "generation": 1}
    return msgspec.convert(tree, Deployment)


def test_nothing_may_surge_nor_miss_means_one_may_miss():
    found = deployment(3, 0, 0)
    assert (max_surge(found), max_unavailable(found)) == (0, 1)


class World:
    """ReplicaSets whose pods come, become available and go, in any order."""

    def __init__(self, chance):
        self.chance, self.sets, self.annotations = chance, {}, {}
        self.time = 0

    def structs(self):
        return [msgspec.convert(tree, ReplicaSet) for tree in self.sets.values()]

    def step(self, wanted):
        """One reconcile, carried out; whether it wrote anything but a status."""
        found = msgspec.structs.replace(
            wanted, metadata=msgspec.structs.replace(wanted.metadata, annotations=dict(self.annotations))
        )
        writes = [w for w in reconcile(found, self.structs(), NOW).writes if getattr(w, "subresource", None) is None]
        for write in writes:
            self.carry_out(write)
        return writes

    def carry_out(self, write):
        match write:
            case Create():
                name, self.time = write.tree["metadata"]["name"], self.time + 1
                meta = {
                    **write.tree["metadata"],
                    "uid": name,
                    "generation": 1,
                    "creationTimestamp": f"2026-01-01T00:00:{self.time:02d}Z",
                }
                self.sets[name] = {**write.tree, "metadata": meta, "status": {"observedGeneration": 1}}
            case Patch(ref=ref) if ref == REF:
                self.annotations |= write.patch["metadata"]["annotations"]
            case Patch():
                tree = self.sets[write.name]
                tree["metadata"].setdefault("annotations", {}).update(
                    write.patch.get("metadata", {}).get("annotations", {})
                )
                tree["spec"] |= write.patch.get("spec", {})
            case Delete():
                del self.sets[write.name]

    def live(self):
        """Something happens to one set's pods."""
        if not self.sets:
            return
        tree = self.chance.choice(list(self.sets.values()))
        status, size = tree["status"], tree["spec"]["replicas"]
        pods, available = status.get("replicas", 0), status.get("availableReplicas", 0)
        if pods < size:
            pods += 1
        elif pods > size:
            pods -= 1
            available = min(available, pods)  # the replica set deletes what serves nobody first
        elif available < pods:
            available += 1
        status |= {"replicas": pods, "availableReplicas": available, "readyReplicas": available}

    def total(self):
        """Pods that are wanted; those that are on their way out are not counted, as upstream."""
        return sum(tree["spec"]["replicas"] for tree in self.sets.values())

    def available(self):
        return sum(
            min(tree["spec"]["replicas"], tree["status"].get("availableReplicas", 0)) for tree in self.sets.values()
        )

    def settle(self, wanted, check=lambda: None):
        for _ in range(3000):
            wrote = self.step(wanted)
            check()
            before = repr(self.sets)
            for _ in range(self.chance.randrange(1, 4)):
                self.live()
            check()
            if not wrote and before == repr(self.sets) and self.available() == wanted.spec.replicas:
                sizes = [tree["spec"]["replicas"] for tree in self.sets.values() if tree["spec"]["replicas"]]
                if sum(sizes) == wanted.spec.replicas and len(sizes) <= 1:
                    return
        raise AssertionError(f"never settled: {self.sets}")


amounts = st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "50%", "100%"]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), amounts, amounts, st.integers(0, 2**32))
def test_a_rollout_keeps_its_bounds_and_ends(replicas, surge, unavailable, seed):
    world = World(random.Random(seed))
    world.settle(deployment(replicas, surge, unavailable, "nginx:1"))
    after = deployment(replicas, surge, unavailable, "nginx:2")

    def check():
        assert world.total() <= replicas + max_surge(after)
        assert world.available() >= replicas - max_unavailable(after)

    world.settle(after, check)
    new = [t for t in world.sets.values() if t["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"]
    assert [t["spec"]["replicas"] for t in new] == [replicas]
    assert new[0]["metadata"]["annotations"][REVISION] == "2"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10), st.integers(0, 12), st.integers(0, 30), st.integers(0, 2**32))
def test_scaling_in_the_middle_of_a_rollout_ends(replicas, later, steps, seed):
    world = World(random.Random(seed))
    world.settle(deployment(replicas, image="nginx:1"))
    for _ in range(steps):
        world.step(deployment(replicas, image="nginx:2"))
        world.live()
    world.settle(deployment(later, image="nginx:2"))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_recreate_never_mixes_templates(replicas, seed):
    world = World(random.Random(seed))
    world.settle(deployment(replicas, image="nginx:1", strategy={"type": "Recreate"}))

    def check():
        running = [t for t in world.sets.values() if t["spec"]["replicas"] or t["status"].get("replicas")]
        assert len(running) <= 1

    world.settle(deployment(replicas, image="nginx:2", strategy={"type": "Recreate"}), check)


# -- against the true API ---------------------------------------------------------------------------------------------


def running(scenario, **options):
    async def go():
        async with cluster(**options) as c:
            await scenario(c)

    asyncio.run(go())


def status(c):
    return (c.one(DEPLOYMENTS, "web") or {}).get("status", {})


def is_done(c, replicas):
    found = c.one(DEPLOYMENTS, "web")
    return (
        found is not None
        and status(c).get("observedGeneration") == found["metadata"]["generation"]
        and status(c).get("updatedReplicas", 0) == status(c).get("replicas", 0) == replicas
        and status(c).get("availableReplicas", 0) == replicas
    )


async def set_image(c, image):
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}}
    await c.patch(DEPLOYMENTS, "web", patch, type="strategic")


def images(c):
    return {pod["spec"]["containers"][0]["image"] for pod in c.pods()}


def condition(c, type):
    return next((x for x in status(c).get("conditions", []) if x["type"] == type), {})


def test_create_scale_and_delete():
    async def scenario(c):
        await c.create(workload("Deployment", "web", replicas=3))
        await c.until(lambda: is_done(c, 3))
        (rs,) = c.all(REPLICA_SETS)
        name = rs["metadata"]["name"]
        assert name == f"web-{rs['metadata']['labels'][HASH_LABEL]}"
        assert all(pod["metadata"]["name"].startswith(f"{name}-") for pod in c.pods())
        assert condition(c, "Available")["reason"] == "MinimumReplicasAvailable"
        await c.until(
            lambda: condition(c, "Progressing")["message"] == f'ReplicaSet "{name}" has successfully progressed.'
        )
        metadata = c.one(DEPLOYMENTS, "web")["metadata"]
        assert (metadata["generation"], metadata["annotations"][REVISION]) == (1, "1")
        await c.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 1}})
        await c.until(lambda: is_done(c, 1) and len(c.pods()) == 1)
        await c.until(lambda: len(c.said("ScalingReplicaSet")) == 2)
        assert sorted(c.said("ScalingReplicaSet")) == [
            f"Scaled down replica set {name} from 3 to 1",
            f"Scaled up replica set {name} from 0 to 3",
        ]
        await c.client.delete(DEPLOYMENTS, "web", "default")
        await c.until(lambda: not c.pods() and not c.all(REPLICA_SETS))

    running(scenario)


def test_rollout_and_back():
    async def scenario(c):
        await c.create(workload("Deployment", "web", replicas=2))
        await c.until(lambda: is_done(c, 2))
        first = c.all(REPLICA_SETS)[0]["metadata"]["name"]
        await set_image(c, "nginx:2")
        await c.until(lambda: is_done(c, 2) and images(c) == {"nginx:2"})
        assert c.one(DEPLOYMENTS, "web")["metadata"]["annotations"][REVISION] == "2"
        await set_image(c, "nginx")
        await c.until(lambda: is_done(c, 2) and images(c) == {"nginx"})
        assert c.one(DEPLOYMENTS, "web")["metadata"]["annotations"][REVISION] == "3"
        back = c.one(REPLICA_SETS, first)
        assert back["spec"]["replicas"] == 2
        assert back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"

    running(scenario)


def test_history_limit():
    async def scenario(c):
        await c.create(workload("Deployment", "web", replicas=1, revisionHistoryLimit=1))
        for number in range(4):
            await set_image(c, f"nginx:{number}")
            await c.until(lambda number=number: is_done(c, 1) and images(c) == {f"nginx:{number}"})
        await c.until(lambda: len(c.all(REPLICA_SETS)) == 2)

    running(scenario)


def test_a_paused_deployment_is_scaled_but_not_rolled_out():
    async def scenario(c):
        await c.create(workload("Deployment", "web", replicas=1))
        await c.until(lambda: is_done(c, 1))
        await c.patch(DEPLOYMENTS, "web", {"spec": {"paused": True, "replicas": 2}})
        await set_image(c, "nginx:2")
        await c.until(lambda: len(c.pods()) == 2)
        assert images(c) == {"nginx"}
        assert condition(c, "Progressing")["reason"] == "DeploymentPaused"
        await c.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}})
        await c.until(lambda: images(c) == {"nginx:2"} and is_done(c, 2))

    running(scenario)


def test_pods_that_never_become_ready_stop_a_rollout():
    async def scenario(c):
        await c.create(workload("Deployment", "web", replicas=3, progressDeadlineSeconds=1))
        await c.until(lambda: is_done(c, 3))
        c.ready = False
        await set_image(c, "nginx:2")
        # the first rollout may have been late as well, on a busy machine: its condition is not the one meant
        await c.until(lambda: status(c).get("updatedReplicas") == 1)
        await c.until(lambda: condition(c, "Progressing").get("reason") == "ProgressDeadlineExceeded")
        assert status(c)["availableReplicas"] == 3

    running(scenario)
