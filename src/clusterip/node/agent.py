"""The node agent: a worker for every pod that is bound to this node, and who may ask about them.

Stage: shell.  In: the API's pods of this node, records of a former agent.  Out: workers; answers of `Lookup`.
Rules: no pod is touched because the agent starts or ends: what runs is adopted, what the API forgot is removed.
Truth: pkg/kubelet (HandlePodAdditions, HandlePodCleanups).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any, Protocol

from clusterip.api.meta import Tree
from clusterip.client.events import EventRecorder
from clusterip.client.informer import Informer, Key
from clusterip.client.names import PODS, SERVICES
from clusterip.client.rest import Client
from clusterip.clock import Clock
from clusterip.kernel.cgroup import Cgroups
from clusterip.node import admission, record, registration
from clusterip.node.admission import Refusal
from clusterip.node.environment import ServiceView, parse_service
from clusterip.node.hostports import HostPorts
from clusterip.node.images import ImageStore
from clusterip.node.ipam import choose
from clusterip.node.keeper import Keeper
from clusterip.node.lookup import ContainerRef, NoSuchContainer, PodRef
from clusterip.node.machine import own_capabilities, usable_cgroups
from clusterip.node.model import Pod, parse_pod
from clusterip.node.record import PodRecord
from clusterip.node.registration import LIMITS, Machine, Registrar, read_machine
from clusterip.node.runtime import Runtime
from clusterip.node.settings import Settings, Tools
from clusterip.node.sources import Sources
from clusterip.node.strictdrain import StrictDrain
from clusterip.node.worker import PodWorker

logger = logging.getLogger(__name__)

LAST_ADDRESS = "last-address"
FAULT_SECONDS = 5.0
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


class Part(Protocol):
    """What runs as long as the agent does."""

    def run(self) -> Coroutine[Any, Any, None]: ...


class Agent:
    """One node."""

    def __init__(self, settings: Settings, client: Client, clock: Clock, runtime: Runtime | None) -> None:
        self.settings, self._client, self._clock, self._runtime = settings, client, clock, runtime
        self.workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._allocatable: Mapping[str, str] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Be the node until stop is set; the pods go on without us."""
        client, name = self._client, self.settings.name
        machine, cgroups = await self._look_around()
        self._allocatable = registration.capacity(machine, self.settings.max_pods)
        pods: Informer[Pod] = Informer(client, PODS, parse_pod, fields=f"spec.nodeName={name}")
        async with asyncio.TaskGroup() as group:
            tools = self._tools(group, machine, cgroups)
            registrar = Registrar(client, self.settings, machine, self._clock)
            parts: dict[str, Part] = {"events": tools.events, "services": tools.services, "pods": pods}
            parts |= {"node": registrar} | ({"host ports": tools.host_ports} if tools.host_ports is not None else {})
            running = [group.create_task(part.run(), name=name) for name, part in parts.items()]
            running.append(group.create_task(self._follow(tools, pods, group), name="follow"))
            await stop.wait()
            for task in [*running, *self._tasks.values()]:
                task.cancel()
            tools.sources.stop()
            if tools.strict_drain is not None:
                tools.strict_drain.stop()

    async def _look_around(self) -> tuple[Machine, Cgroups | None]:
        """What this machine has."""
        cgroups, trouble = await asyncio.to_thread(usable_cgroups, self.settings.cgroup_parent)
        machine = read_machine(self.settings.root)
        if not trouble:
            return machine, cgroups
        logger.warning("No control groups", extra={"kv": {"err": trouble}})
        return replace(machine, problems={LIMITS: trouble}), cgroups

    def _tools(self, group: asyncio.TaskGroup, machine: Machine, cgroups: Cgroups | None) -> Tools:
        settings, client, clock = self.settings, self._client, self._clock
        services: Informer[ServiceView] = Informer(client, SERVICES, parse_service)
        return Tools(
            settings=settings,
            clock=clock,
            client=client,
            events=EventRecorder(client, "kubelet", settings.name, clock=clock),
            sources=Sources(client, group),
            services=services,
            images=ImageStore(settings.images or settings.root / "images"),
            runtime=self._runtime,
            cgroups=cgroups,
            new_id=lambda: os.urandom(32).hex(),
            allocatable=self._allocatable,
            capabilities=own_capabilities(),
            memory_bytes=machine.memory_bytes,
            strict_drain=StrictDrain(client, group, clock) if settings.strict_drain else None,
            host_ports=None if settings.gate else HostPorts(settings.pod_cidr, settings.inside),
        )

    # -- workers ------------------------------------------------------------------------------------------------------

    async def _follow(self, tools: Tools, pods: Informer[Pod], group: asyncio.TaskGroup) -> None:
        """Adopt what was here before, then have a worker for every pod that the API binds to this node."""
        records = await asyncio.to_thread(record.load, self.settings.root)
        await pods.synced()
        known = {pod.uid: pod for pod in pods.items().values()}
        for uid, former in records.items():
            worker = self._begin(tools, group, known.get(uid) or parse_pod(former.tree), former)
            if uid not in known:
                worker.vanish()
        if tools.host_ports is not None:
            tools.host_ports.begin()
        for pod in sorted(known.values(), key=lambda pod: str(pod.meta.get("creationTimestamp"))):
            if pod.uid not in records:
                self._admit(tools, group, pod)

        def changed(_: Key, old: Pod | None, new: Pod | None) -> None:
            if new is not None:
                worker = self.workers.get(new.uid)
                if worker is None:
                    self._admit(tools, group, new)
                else:
                    worker.update(new)
            elif old is not None and old.uid in self.workers:
                self.workers[old.uid].vanish()

        pods.subscribe(changed)

    def _admit(self, tools: Tools, group: asyncio.TaskGroup, pod: Pod) -> None:
        """A pod that is new here; one for which there is no room has a worker too, who says so."""
        is_new = not pod.is_finished and not pod.is_terminating
        why = admission.refusal(pod, self._others(pod), self._allocatable) if is_new else None
        worker = self._begin(tools, group, pod, None)
        if why is not None:
            worker.refuse(why)

    def _begin(self, tools: Tools, group: asyncio.TaskGroup, pod: Pod, former: PodRecord | None) -> PodWorker:
        worker = PodWorker(tools, pod, former, self)
        self.workers[pod.uid] = worker
        task = group.create_task(self._care(worker), name=f"pod {pod.namespace}/{pod.name}")
        self._tasks[pod.uid] = task
        return worker

    async def _care(self, worker: PodWorker) -> None:
        """Run the worker to the pod's end; a fault of ours costs this pod a pause, and the others nothing."""
        uid = worker.pod.uid
        try:
            while not worker.finished.is_set():
                try:
                    await worker.run()
                except Exception:
                    logger.exception("A pod's worker failed, beginning anew", extra={"kv": {"pod": worker.title}})
                    await asyncio.sleep(FAULT_SECONDS)
        finally:
            self.workers.pop(uid, None)
            self._tasks.pop(uid, None)
            self.freed()

    def take_address(self, uid: str) -> str:
        """An address for a pod; ValueError when the node has none left."""
        taken = {IPv4Address(w.record.ip) for w in self.workers.values() if w.record.ip and not w.record.released}
        path = self.settings.root / LAST_ADDRESS
        chosen = choose(self.settings.pod_cidr, taken, _read_address(path))
        if chosen is None:
            raise ValueError(f"no free address in {self.settings.pod_cidr}")
        path.write_text(str(chosen))
        return str(chosen)

    # -- room ---------------------------------------------------------------------------------------------------------

    def _others(self, pod: Pod) -> list[Pod]:
        return [one.pod for one in self.workers.values() if one.is_here and one.pod.uid != pod.uid]

    def judge(self, pod: Pod) -> Refusal | None:
        return admission.shortage(pod, self._others(pod), self._allocatable)

    def freed(self) -> None:
        """Those who wait for room look again, the more important ones first."""
        waiting = [worker for worker in self.workers.values() if worker.wishes.pending[0]]
        for worker in sorted(waiting, key=lambda worker: -int(worker.pod.spec.get("priority") or 0)):
            worker.look_again()

    # -- Lookup -------------------------------------------------------------------------------------------------------

    def _worker(self, namespace: str, name: str, uid: str | None = None) -> PodWorker:
        """The newest pod of the name: a deleted one may still be ending beside its successor."""
        found = [
            worker
            for worker in self.workers.values()
            if worker.pod.namespace == namespace and worker.pod.name == name and uid in (None, worker.pod.uid)
        ]
        if not found:
            raise NoSuchContainer(f'pod "{name}" is not on node {self.settings.name}')
        return min(found, key=lambda worker: (worker.vanished, worker.pod.is_terminating))

    def pod(self, namespace: str, name: str, uid: str | None = None) -> PodRef:
        worker = self._worker(namespace, name, uid)
        netns = None if worker.pod.host_network else worker.folder.namespace("net")
        return PodRef(
            namespace=namespace,
            name=name,
            uid=worker.pod.uid,
            ip=worker.address,
            netns=netns,
            containers=[container.name for container in worker.pod.containers],
        )

    def container(self, namespace: str, pod: str, name: str | None = None) -> ContainerRef:
        worker = self._worker(namespace, pod)
        wanted = name or _default_container(worker.pod)
        keeper = worker.keepers.get(wanted)
        if keeper is None:
            raise NoSuchContainer(f"container {wanted} is not valid for pod {pod}")
        return self._reference(worker, keeper)

    def _reference(self, worker: PodWorker, keeper: Keeper) -> ContainerRef:
        pod, container, newest = worker.pod, keeper.container, keeper.newest
        attempt = newest.attempt if newest else 0
        by_runtime = newest is not None and not newest.forked and self._runtime is not None
        bundle = worker.folder.attempt(keeper.name, attempt) if by_runtime else None
        return ContainerRef(
            namespace=pod.namespace,
            pod=pod.name,
            pod_uid=pod.uid,
            name=keeper.name,
            id=newest.id if newest else "",
            attempt=attempt,
            running=newest is not None and not newest.ended,
            pid=newest.pid if newest and not newest.ended else None,
            tty=bool(container.tree.get("tty")),
            stdin=bool(container.tree.get("stdin")),
            stdin_once=bool(container.tree.get("stdinOnce")),
            log_path=keeper.traces.log(attempt),
            previous_log_path=keeper.traces.log(attempt - 1) if attempt > 0 else None,
            attach_socket=self._runtime.attach_socket(newest.id) if by_runtime and newest and self._runtime else None,
            control_fifo=bundle / "ctl" if bundle else None,
            runtime=self._runtime.command if by_runtime and self._runtime else (),
            bundle=bundle,
            exit_code=newest.exit_code if newest else None,
            gate=self.settings.gate if newest and newest.boot else None,
        )

    async def ended(self, ref: ContainerRef) -> int | None:
        """Wait until the attempt is over."""
        worker = self.workers.get(ref.pod_uid)
        keeper = worker.keepers.get(ref.name) if worker else None
        if keeper is None or keeper.newest is None or keeper.newest.attempt != ref.attempt:
            return ref.exit_code
        live = keeper.live
        await live.ended.wait()
        found = next((a for a in keeper.attempts if a.attempt == ref.attempt), None)
        return found.exit_code if found else None

    def pods(self) -> list[Tree]:
        return [worker.pod.tree for worker in self.workers.values()]


def _default_container(pod: Pod) -> str:
    marked: Mapping[str, str] = pod.meta.get("annotations") or {}
    return marked.get(DEFAULT_CONTAINER) or pod.app_containers[0].name


def _read_address(path: Path) -> IPv4Address | None:
    try:
        return IPv4Address(path.read_text().strip())
    except (OSError, AddressValueError):
        return None
