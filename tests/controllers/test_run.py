"""All controllers together: their connections cut at random, everything still ends as asked."""

from __future__ import annotations

import asyncio
import random

import pytest

from clusterip.client.rest import Client
from clusterip.controllers import run
from clusterip.controllers.run import CONTROLLERS, SCHEDULER, chosen
from clusterip.failure import Failure
from controllers.cluster import DEPLOYMENTS, ENDPOINT_SLICES, PODS, cluster, service, workload


def test_chosen():
    assert chosen("*") == [*CONTROLLERS, SCHEDULER]
    assert chosen("job, scheduler") == ["job", "scheduler"]
    assert "endpoints" not in chosen("*,-endpoints")
    with pytest.raises(Failure, match="no controller is named 'nonsense'"):
        chosen("nonsense")


class Cut(Client):
    """A client whose open connections can be cut off."""

    made: list[Cut] = []  # noqa: RUF012

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        Cut.made.append(self)

    def cut(self):
        for protocol in list(self._session.connector._acquired):
            if protocol.transport is not None:
                protocol.transport.abort()


def owned(c):
    return [pod for pod in c.pods() if not pod["metadata"].get("deletionTimestamp")]


def told(c):
    """The addresses that the Service's slices say are ready."""
    return sorted(
        endpoint["addresses"][0]
        for slice in c.all(ENDPOINT_SLICES)
        if slice["metadata"]["labels"].get("kubernetes.io/service-name") == "web"
        for endpoint in slice.get("endpoints") or []
        if endpoint["conditions"]["ready"]
    )


def is_done(c, replicas, image):
    found = c.one(DEPLOYMENTS, "web")
    status = found["status"]
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedReplicas", 0)
        == status.get("replicas", 0)
        == status.get("availableReplicas", 0)
        == replicas
        and [pod["spec"]["containers"][0]["image"] for pod in c.pods()] == [image] * replicas
        and told(c) == sorted(pod["status"]["podIP"] for pod in c.pods())
    )


@pytest.mark.parametrize("seed", range(3))
def test_cut_at_random(seed, monkeypatch):
    chance = random.Random(seed)
    monkeypatch.setattr(run, "Client", Cut)
    Cut.made.clear()

    async def go():
        async with cluster(nodes=3) as c:
            await c.create(service("web"))
            await c.create(workload("Deployment", "web", replicas=3))
            stop = asyncio.Event()

            async def cutting():
                while not stop.is_set():
                    await asyncio.sleep(chance.uniform(0.005, 0.05))
                    chance.choice(Cut.made).cut()

            task = asyncio.create_task(cutting())
            replicas, image = 3, "nginx"
            for step in range(6):
                if chance.random() < 0.5:
                    replicas = chance.randrange(0, 8)
                    await c.patch(DEPLOYMENTS, "web", {"spec": {"replicas": replicas}})
                else:
                    image = f"nginx:{step}"
                    containers = [{"name": "web", "image": image}]
                    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
                    await c.patch(DEPLOYMENTS, "web", patch, type="strategic")
                await asyncio.sleep(chance.uniform(0, 0.2))
            stop.set()
            await task
            await c.until(lambda: is_done(c, replicas, image), 120)
            names = [pod["metadata"]["name"] for pod in c.all(PODS)]
            assert len(set(names)) == replicas

    asyncio.run(go())
