"""One pod of this node, from its first sight to its last.

Stage: shell.  In: the pod as the API has it, and changes of it.  Out: sandbox, volumes, containers, status.
Rules: level driven: look, decide (decide.py), take the steps, say the status, sleep until something happens.  Nothing
that goes wrong with one pod leaves its worker.
Truth: pkg/kubelet/pod_workers.go: sync, terminating, terminated.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime
from typing import Protocol

import msgspec

from clusterip.client.events import NORMAL, WARNING, Involved
from clusterip.clock import rfc3339
from clusterip.node import decide as steps
from clusterip.node import stop, storage
from clusterip.node.admission import Refusal
from clusterip.node.ground import Ground
from clusterip.node.handle import wait_at_most
from clusterip.node.keeper import Keeper, Place
from clusterip.node.leaving import Leaving
from clusterip.node.model import Pod, PodSeen
from clusterip.node.publish import Publisher, delete
from clusterip.node.record import PodFolder, PodRecord
from clusterip.node.settings import Tools
from clusterip.node.status import Facts, pod_status
from clusterip.node.wishes import Wishes

logger = logging.getLogger(__name__)

FAULT_SECONDS = 5.0
VANISHED_GRACE = 2


class House(Protocol):
    """The node, for what concerns all of its pods."""

    def take_address(self, uid: str) -> str:
        """An address for a pod; ValueError when there is none."""
        ...

    def judge(self, pod: Pod) -> Refusal | None:
        """Why there is no room for the pod as it is; None: there is."""
        ...

    def freed(self) -> None:
        """A pod takes less room than before."""
        ...


class PodWorker:
    """The pod."""

    def __init__(self, tools: Tools, pod: Pod, record: PodRecord | None, house: House) -> None:
        self.tools = tools
        self.folder = PodFolder(tools.settings.root, pod.uid, tools.settings.log_root)
        self.record = record or PodRecord(
            uid=pod.uid,
            namespace=pod.namespace,
            name=pod.name,
            tree=pod.tree,
            started_at=rfc3339(tools.clock.now()),
        )
        self.wishes = Wishes(pod, self.record)
        self.vanished = False
        self.finished = asyncio.Event()
        self.keepers: dict[str, Keeper] = {}
        self._house = house
        self._wake = asyncio.Event()
        self._leaving = Leaving(tools, lambda: self.pod, self.say)
        self._failure, self._refused = ("", ""), False
        self._publisher = Publisher(tools.client, dict(pod.status))
        self._ground = Ground(tools, self.folder, self, house.take_address, self.sources_changed)
        self._place: Place | None = None

    # -- news ---------------------------------------------------------------------------------------------------------

    def update(self, pod: Pod) -> None:
        """The API has a newer state of the pod."""
        former = self.pod
        self.wishes.hear(pod)
        self._keep_new()
        if not pod.is_terminating and _words_about(former) != _words_about(pod):
            self._ground.refresh()
        if former.is_terminating and pod.grace < former.grace:
            self._hasten(pod.grace)
        self._wake.set()

    def refuse(self, why: Refusal) -> None:
        """The node does not take the pod."""
        self._failure, self._refused = (why.reason, f"Pod was rejected: {why.message}"), True
        self.say(WARNING, why.reason, why.message)

    def evict(self, why: str) -> None:
        """The pod uses more of the node than it may."""
        if not (self._failure[0] or self.is_over):
            self._failure = (steps.EVICTED, why)
            self.say(WARNING, steps.EVICTED, why)
            self._wake.set()

    def look_again(self) -> None:
        """What the pod was not granted may be there now."""
        self._wake.set()

    def vanish(self) -> None:
        """The API no longer has the pod."""
        self.vanished = True
        self._hasten(VANISHED_GRACE)
        self._wake.set()

    def _hasten(self, grace: int) -> None:
        """Those who are being stopped get no more time than this."""
        self._leaving.hurry.set()
        for keeper in self.keepers.values():
            if keeper.live.killing and self._place is not None:
                self._place.group.create_task(stop.hasten(keeper, grace), name=f"end of {keeper.name}")

    def sources_changed(self) -> None:
        """A configMap or secret of the pod changed."""
        self._ground.retry_now()
        for keeper in self.keepers.values():
            keeper.retry_now()
        self._ground.refresh()
        self._wake.set()

    @property
    def pod(self) -> Pod:
        """As it was granted."""
        return self.wishes.pod

    @property
    def is_over(self) -> bool:
        """Whether nothing is started any more."""
        return self.vanished or self.pod.is_terminating or self.pod.is_finished or self._refused

    @property
    def is_here(self) -> bool:
        """Whether the pod takes room on the node."""
        over = self.pod.is_finished or bool(self._failure[0]) or (self.pod.is_terminating and self.record.released)
        return not self.vanished and (self.record.sandbox or not over)

    @property
    def title(self) -> str:
        return f"{self.pod.namespace}/{self.pod.name}"

    @property
    def address(self) -> str:
        return self.tools.settings.node_ip if self.pod.host_network else self.record.ip

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the pod until it is forgotten."""
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._publisher.run(), name="status")]
                beside.append(group.create_task(self._ground.run(), name="volumes"))
                if storage.is_limited(self.pod):
                    looking = storage.watch(lambda: self.pod, self.folder, self.evict)
                    beside.append(group.create_task(looking, name="storage"))
                self._begin(group)
                while not self.finished.is_set():
                    await self._turn(group)
                for task in beside:
                    task.cancel()
                for keeper in self.keepers.values():
                    keeper.stop_following()
        finally:
            self._place = None
            self.tools.sources.release(self.pod)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        """Containers are taken over as they are on record; those of a run that failed are followed by nobody."""
        self._place = Place(
            self.tools, group, lambda: self.pod, lambda: self.address, self.folder, self.save, self._wake.set
        )
        self._ground.look()
        self.keepers.clear()
        self._keep_new()

    def _keep_new(self) -> None:
        """Containers that nobody keeps yet: all at first, ephemeral ones as they come."""
        if self._place is None:
            return
        for container in self.pod.containers:
            if container.name not in self.keepers:
                attempts = list(self.record.attempts.get(container.name, ()))
                delay = self.record.delays.get(container.name)
                self.keepers[container.name] = Keeper(self._place, container.name, attempts, delay)

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        """Look, decide, act, tell, wait."""
        self._wake.clear()
        try:
            self._weigh()
            now, wall = self.tools.clock.monotonic(), self.tools.clock.now()
            decision = steps.decide(self.pod, self.seen(), now, wall)
            for step in decision.steps:
                await self._take(step, group)
            self.wishes.look(self.seen(), self.say)
            self._tell()
        except Exception:  # a fault of ours in one pod must not end the node
            logger.exception("A pod's worker failed", extra={"kv": {"pod": self.title}})
            await wait_at_most(self._wake, FAULT_SECONDS)
            return
        if decision.steps:
            return
        if decision.wake_at:
            await wait_at_most(self._wake, decision.wake_at - self.tools.clock.monotonic())
        else:
            await self._wake.wait()

    def _weigh(self) -> None:
        """What the pod wishes beyond what it has is granted, if there is room."""
        if self.is_over:
            return
        if self.wishes.weigh(self._house.judge, self.say):
            self.save()
            self._ground.refresh()
            self._house.freed()

    def seen(self) -> PodSeen:
        return PodSeen(
            prepared=self._ground.is_ready,
            sandbox=self.record.sandbox,
            ip=self.address if self.record.sandbox or self.record.ip else "",
            retry_at=self._ground.retry_at,
            containers={name: keeper.seen() for name, keeper in self.keepers.items()},
            vanished=self.vanished,
            drained=self._leaving.is_over,
            failure=self._failure[0],
            failure_message=self._failure[1],
            refused=self._refused or self._never_ran(),
            pending=self.wishes.pending,
        )

    def _never_ran(self) -> bool:
        """A pod that a node refused before this agent began."""
        return self.pod.is_finished and not self.record.attempts and "containerStatuses" not in self.pod.status

    def _tell(self) -> None:
        if self.vanished or self.finished.is_set():
            return
        self._publisher.hear(self.pod)
        started = datetime.fromisoformat(self.record.started_at)
        settings, seen = self.tools.settings, self.seen()
        facts = Facts(
            host_ips=settings.node_ips,
            pod_ips=settings.all_ips(seen.ip),
            started_at=started,
            now=self.tools.clock.now(),
        )
        self._publisher.publish(self.pod, pod_status(self.pod, seen, self._publisher.status, facts))

    def save(self) -> None:
        """Keep the record; a disk that takes nothing is told of."""
        self.record = msgspec.structs.replace(
            self.record,
            tree=self.wishes.wanted.tree,
            granted=self.wishes.granted,
            attempts={name: keeper.attempts for name, keeper in self.keepers.items() if keeper.attempts},
            delays={name: (k.delay.delay, k.delay.set_at) for name, k in self.keepers.items() if k.delay.delay},
        )
        try:
            self.folder.save(self.record)
        except OSError as error:
            self.say(WARNING, "FailedRecord", f"cannot write {self.folder.record_path}: {error.strerror}")

    # -- steps --------------------------------------------------------------------------------------------------------

    async def _take(self, step: steps.Step, group: asyncio.TaskGroup) -> None:
        match step:
            case steps.Prepare():
                await self._ground.prepare()
            case steps.Start(name, attempt):
                await self.keepers[name].start(attempt, self._ground.surroundings(), self._beside(name))
            case steps.Kill(name, grace, why):
                self._kill(group, name, VANISHED_GRACE if self.vanished else grace, why)
            case steps.Resize(name):
                await self.keepers[name].resize()
            case steps.Drain():
                await self._leaving.wait(was_ready=self._took_traffic())
            case steps.RemoveSandbox():
                await self._remove_sandbox()
            case steps.Fail(reason, message):
                self._failure = (reason, message)
            case steps.Finish():
                await self._finish()

    def _beside(self, name: str) -> int:
        """The first process of the container that an ephemeral one is to look at."""
        container = self.pod.container(name)
        target = self.keepers.get(str(container.tree.get("targetContainerName"))) if container else None
        newest = target.newest if target is not None else None
        return newest.pid if newest is not None and not newest.ended else 0

    def _kill(self, group: asyncio.TaskGroup, name: str, grace: int, why: str) -> None:
        keeper = self.keepers[name]
        keeper.live.killing = True
        self.say(NORMAL, "Killing", why or f"Stopping container {name}", keeper.field_path)
        group.create_task(
            stop.stop(keeper, self.address, self._leaving.left(grace), self.tools.clock), name=f"stop of {name}"
        )

    def _took_traffic(self) -> bool:
        return not self.vanished and any(each.live.ready and each.live.started for each in self.keepers.values())

    async def _remove_sandbox(self) -> None:
        """All containers are over."""
        for keeper in self.keepers.values():
            if keeper.newest is not None:
                await keeper.traces.release(keeper.newest)
        await self._ground.remove()
        self._house.freed()

    async def _finish(self) -> None:
        """The last status, then the API forgets the pod, then we do."""
        self._tell()
        if not self.vanished:
            await self._publisher.flush()
            await delete(self.tools.client, self.pod)
        await self._ground.forget()
        self.finished.set()

    def say(self, type: str, reason: str, message: str, path: str = "") -> None:
        """An event about the pod, or about a place in it."""
        with contextlib.suppress(KeyError):
            self.tools.events.event(Involved.of(self.pod.tree, path), type, reason, message)


def _words_about(pod: Pod) -> tuple[object, object]:
    """What volumes of kind downwardAPI may show of a pod, and may change."""
    metadata = pod.tree.get("metadata") or {}
    return metadata.get("labels"), metadata.get("annotations")
