"""Starts every controller and the scheduler in one process.

Stage: shell.  In: two identities.  Out: runs until SIGTERM.
Rules: the only module that knows all controllers; caches are shared; the scheduler writes as itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from clusterip.client.config import ServerConfig
from clusterip.client.events import EventRecorder
from clusterip.client.rest import Client
from clusterip.clock import Clock, SystemClock
from clusterip.controllers import (
    certificates,
    clusterroleaggregation,
    cronjob,
    daemonset,
    deployment,
    disruption,
    eviction,
    graph,
    job,
    mirroring,
    nodelifecycle,
    podgc,
    replicaset,
    resourcequota,
    scheduler,
    serviceaccount,
    servicecidr,
    services,
    statefulset,
    volumebinding,
)
from clusterip.controllers.caches import Caches
from clusterip.controllers.harness import Part, World
from clusterip.controllers.leading import lead
from clusterip.controllers.numbers import Queues
from clusterip.failure import Failure
from clusterip.transport.certificates import KeyPair
from clusterip.transport.insight import Insight

logger = logging.getLogger(__name__)

Start = Callable[[World], Sequence[Part]]

# name -> (what the events say, how it starts)
CONTROLLERS: dict[str, tuple[str, Start]] = {
    "deployment": ("deployment-controller", deployment.start),
    "replicaset": ("replicaset-controller", replicaset.start),
    "statefulset": ("statefulset-controller", statefulset.start),
    "replicationcontroller": ("replication-controller", replicaset.start_controllers),
    "daemonset": ("daemonset-controller", daemonset.start),
    "job": ("job-controller", job.start),
    "cronjob": ("cronjob-controller", cronjob.start),
    "serviceaccount": ("serviceaccount-controller", serviceaccount.start),
    "endpointslice": ("endpoint-slice-controller", services.start_slices),
    "endpoints": ("endpoint-controller", services.start_endpoints),
    "endpointslicemirroring": ("endpoint-slice-mirroring-controller", mirroring.start),
    "garbage": ("garbage-collector-controller", graph.start),
    "nodelifecycle": ("node-controller", nodelifecycle.start),
    "eviction": ("taint-eviction-controller", eviction.start),
    "certificates": ("certificate-controller", certificates.start),
    "disruption": ("controllermanager", disruption.start),
    "resourcequota": ("resourcequota-controller", resourcequota.start),
    "clusterroleaggregation": ("clusterrole-aggregation-controller", clusterroleaggregation.start),
    "servicecidr": ("service-cidr-controller", servicecidr.start),
    "volumebinding": ("persistentvolume-controller", volumebinding.start),
    "podgc": ("pod-garbage-collector", podgc.start),
}
SCHEDULER = "scheduler"


def chosen(names: str) -> list[str]:
    """The controllers of a list such as "*,-endpoints"; an unknown name is an error."""
    words = [word.strip() for word in names.split(",") if word.strip()]
    known = [*CONTROLLERS, SCHEDULER]
    for word in words:
        if word != "*" and word.removeprefix("-") not in known:
            raise Failure(f"no controller is named {word.removeprefix('-')!r}; there are: {', '.join(known)}")
    left_out = {word[1:] for word in words if word.startswith("-")}
    return [name for name in known if name not in left_out and ("*" in words or name in words)]


async def run(
    config: ServerConfig,
    scheduler_config: ServerConfig,
    names: str = "*",
    clock: Clock | None = None,
    authority: KeyPair | None = None,
    volumes: Path | None = None,
    identity: str = "",
    page: str = "",
) -> None:
    """Run until cancelled, which ends it at once: every write is whole, and the next start looks at all anew.

    `page` is where /metrics, /healthz and /readyz are; ready is who works, and does not wait for another to end.
    """
    wanted = chosen(names)
    now = clock or SystemClock()
    queues, works = Queues(now.monotonic), asyncio.Event()

    async def work() -> None:
        works.set()
        await serve(config, scheduler_config, wanted, now, authority, volumes, queues)

    try:
        async with AsyncExitStack() as stack:
            if page:
                await Insight(queues.registry, works.is_set).listen(stack, page)
            if not identity:
                await work()
                return
            client = await stack.enter_async_context(Client(config, user_agent="leader-election/clusterip"))
            await lead(client, identity, work, now)
    except asyncio.CancelledError:
        logger.info("Stopped")
        raise


async def serve(
    config: ServerConfig,
    scheduler_config: ServerConfig,
    wanted: list[str],
    clock: Clock,
    authority: KeyPair | None = None,
    volumes: Path | None = None,
    queues: Queues | None = None,
) -> None:
    """Follow, decide and write until cancelled."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(config, user_agent="kube-controller-manager/clusterip"))
        as_scheduler = await stack.enter_async_context(Client(scheduler_config, user_agent="kube-scheduler/clusterip"))
        caches = Caches(client, clock)
        recorders: list[EventRecorder] = []
        parts: list[Part] = []
        for name in wanted:
            is_scheduler = name == SCHEDULER
            component, start = (scheduler.NAME, scheduler.start) if is_scheduler else CONTROLLERS[name]
            writer = as_scheduler if is_scheduler else client
            recorder = EventRecorder(writer, component, clock=clock)
            recorders.append(recorder)
            parts += start(World(writer, caches, recorder, clock, authority, volumes, queues))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        caches.begin(group)
        for recorder in recorders:
            group.create_task(recorder.run(), name="events")
        logger.info("Controllers start", extra={"kv": {"controllers": ",".join(wanted), "server": config.url}})
        for controller in parts:
            group.create_task(controller.run(), name=f"controller {controller.name}")
