"""One container of one pod: start it, follow it, probe it, and remember.

Stage: shell.  In: steps of the pod's worker.  Out: what is seen of the container; calls to wake the worker.
Rules: decides nothing about whether; times come from the clock; every attempt is on disk before anything is told.
Truth: pkg/kubelet/kuberuntime startContainer; the words of its events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from clusterip.client.events import NORMAL, WARNING, Involved
from clusterip.clock import rfc3339
from clusterip.node import prober
from clusterip.node.allocation import resources_of
from clusterip.node.backoff import Backoff, in_words
from clusterip.node.decide import restarts
from clusterip.node.environment import Surroundings
from clusterip.node.handle import Handle
from clusterip.node.images import Image
from clusterip.node.launch import launch, resolve
from clusterip.node.model import Container, Pod, Probe, Seen
from clusterip.node.order import Order, Refused
from clusterip.node.probing import Verdict
from clusterip.node.record import AttemptRecord, PodFolder
from clusterip.node.resources import ResizeError, give
from clusterip.node.settings import Tools
from clusterip.node.traces import Traces

PULL_REASONS = ("ErrImagePull", "InvalidImageName", "ErrImageNeverPull")
PULL_SHOWN_SECONDS = 2.0  # how long ErrImagePull is shown before ImagePullBackOff
RESIZE_RETRY_SECONDS = 5.0
CONFIG_RETRY_SECONDS = 10.0  # a source that changes wakes earlier


@dataclass(slots=True)
class Live:
    """What is known of the newest attempt, and is not worth keeping on disk."""

    handle: Handle | None = None
    started: bool = False
    ready: bool = False
    unhealthy: str = ""
    killing: bool = False
    waiting_reason: str = ""
    waiting_message: str = ""
    retry_at: float = 0.0
    resize_error: str = ""
    resize_at: float = 0.0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container belongs, and whom it tells of changes."""

    tools: Tools
    group: asyncio.TaskGroup
    pod: Callable[[], Pod]
    address: Callable[[], str]
    folder: PodFolder
    save: Callable[[], None]  # keep the records
    changed: Callable[[], None]  # look again


class Keeper:
    """The container, for as long as its pod is here."""

    def __init__(
        self, place: Place, name: str, attempts: list[AttemptRecord], delay: tuple[float, float] | None
    ) -> None:
        self._place, self.name = place, name
        self._tools = place.tools
        self.traces = Traces(place.tools, place.folder, place.pod, name)
        self.attempts = attempts
        self.delay = Backoff(*delay) if delay else Backoff()
        self._pull_delay = Backoff()
        self.live = Live()
        if self.newest is not None and not self.newest.ended:
            self._follow(self.traces.handle(self.newest), is_new=False)
        elif self.newest is not None:
            self.live.ended.set()
            self._plan_retry()

    # -- what is seen -------------------------------------------------------------------------------------------------

    @property
    def container(self) -> Container:
        found = self._place.pod().container(self.name)
        assert found is not None
        return found

    @property
    def field_path(self) -> str:
        """Where the container is in its pod, as events say it."""
        kind = "initContainers" if self.container.init else "containers"
        return f"spec.{'ephemeralContainers' if self.container.ephemeral else kind}{{{self.name}}}"

    @property
    def newest(self) -> AttemptRecord | None:
        return self.attempts[-1] if self.attempts else None

    def seen(self) -> Seen:
        """What the decision looks at."""
        live, newest = self.live, self.newest
        one = Seen() if newest is None else seen_of(newest)
        if one.state != "running":
            one = replace(
                one,
                waiting_reason=live.waiting_reason,
                waiting_message=live.waiting_message,
                retry_at=live.retry_at,
            )
        else:
            one = replace(one, started=live.started, ready=live.ready, unhealthy=live.unhealthy, killing=live.killing)
            one = replace(one, resize_error=live.resize_error, resize_at=live.resize_at)
        return replace(one, former=seen_of(self.attempts[-2])) if len(self.attempts) > 1 else one

    # -- beginning ----------------------------------------------------------------------------------------------------

    async def start(self, attempt: int, around: Surroundings, beside: int = 0) -> None:
        """Begin an attempt; what goes wrong becomes a waiting reason or a failed attempt."""
        container, pod = self.container, self._place.pod()
        order = Order(pod, container, attempt, around, self._place.folder, beside)
        await self.traces.forget(self.attempts)
        try:
            image = resolve(self._tools, container)
            self._say(NORMAL, "Pulled", _pulled(container, image))
            record, handle = await launch(self._tools, order, image)
        except Refused as refused:
            self._refused(refused, attempt)
            return
        self._remember(msgspec.structs.replace(record, resources=resources_of(container)))
        self._say(NORMAL, "Created", f"Container created: {self.name}")
        self._say(NORMAL, "Started", f"Container started: {self.name}")
        self._follow(handle, is_new=True)

    def _remember(self, record: AttemptRecord) -> None:
        """The new attempt is on disk before anyone hears of it."""
        if record.attempt > 0:
            self.delay = self.delay.next(self._wall(), longest=self._tools.settings.crash_longest)
        self.attempts = [*self.attempts[-1:], record]
        self.live = Live()
        self._place.save()

    def _refused(self, refused: Refused, attempt: int) -> None:
        live = self.live
        live.waiting_reason, live.waiting_message = refused.reason, refused.message
        if refused.created is not None:
            self._failed_start(refused, refused.created)
        elif refused.reason in PULL_REASONS:
            self._missing_image(refused)
        else:
            live.retry_at = self._tools.clock.monotonic() + CONFIG_RETRY_SECONDS
            self._say(WARNING, "Failed", f"Error: {refused.message}")

    def _failed_start(self, refused: Refused, created: AttemptRecord) -> None:
        """The runtime could not execute it: an attempt that ended at once."""
        ended = msgspec.structs.replace(
            created,
            started_at="",
            finished_at=rfc3339(self._tools.clock.now()),
            exit_code=128,
            reason="StartError",
            message=refused.message,
        )
        self._remember(ended)
        self.live.ended.set()
        self._say(WARNING, "Failed", f"Error: {refused.message}")
        self._plan_retry()
        if not self.live.waiting_reason and restarts(self._policy(), self.seen()):
            self.live.waiting_reason, self.live.waiting_message = refused.reason, refused.message

    def _missing_image(self, refused: Refused) -> None:
        """ErrImagePull first, then ImagePullBackOff until the next try."""
        clock, live, image = self._tools.clock, self.live, self.container.image
        now = clock.monotonic()
        self._pull_delay = self._pull_delay.next(now)
        live.retry_at = now + self._pull_delay.delay
        if refused.reason == "ErrImagePull":
            self._say(NORMAL, "Pulling", f'Pulling image "{image}"')
            self._say(WARNING, "Failed", f'Failed to pull image "{image}": {refused.message}')
        self._say(WARNING, "Failed", f"Error: {refused.reason}")
        if refused.reason == "ErrImagePull":
            live.tasks.append(self._place.group.create_task(self._back_off_pull(live, refused.message)))

    async def _back_off_pull(self, live: Live, message: str) -> None:
        await asyncio.sleep(PULL_SHOWN_SECONDS)
        if live is not self.live or live.waiting_reason != "ErrImagePull":
            return
        text = f'Back-off pulling image "{self.container.image}"'
        live.waiting_reason, live.waiting_message = "ImagePullBackOff", f"{text}: ErrImagePull: {message}"
        self._say(NORMAL, "BackOff", text)
        self._say(WARNING, "Failed", "Error: ImagePullBackOff")
        self._place.changed()

    # -- running ------------------------------------------------------------------------------------------------------

    async def resize(self) -> None:
        """Give the running attempt what its pod was granted."""
        newest, live, tools, container = self.newest, self.live, self._tools, self.container
        assert newest is not None
        if tools.cgroups is not None and not newest.boot:  # a guest's control groups are its own
            try:
                await asyncio.to_thread(give, tools.cgroups, self.traces.group(newest), container)
            except ResizeError as error:
                live.resize_error = str(error)
                live.resize_at = tools.clock.monotonic() + RESIZE_RETRY_SECONDS
                return
        live.resize_error = ""
        if self.newest is newest:  # it has not ended meanwhile
            self.attempts = [*self.attempts[:-1], msgspec.structs.replace(newest, resources=resources_of(container))]
            self._place.save()

    def _follow(self, handle: Handle, *, is_new: bool) -> None:
        live, container, group = self.live, self.container, self._place.group
        live.handle = handle
        probes = container.probes
        live.started = "startup" not in probes
        live.ready = "readiness" not in probes
        live.tasks.append(group.create_task(self._until_end(live, handle), name=f"end of {self.name}"))
        if is_new and container.post_start is not None:
            live.tasks.append(group.create_task(self._post_start(live, handle), name=f"hook of {self.name}"))
        self._probe(["startup"] if not live.started else ["liveness", "readiness"])

    def _probe(self, kinds: list[str]) -> None:
        live = self.live
        assert live.handle is not None
        target = prober.Target(self.container, self._place.address(), live.handle)
        for kind, probe in self.container.probes.items():
            if kind in kinds:
                watching = prober.watch(target, probe, self._told(live), once=kind == "startup")
                live.tasks.append(self._place.group.create_task(watching, name=f"{kind} of {self.name}"))

    def _told(self, live: Live) -> prober.Told:
        def told(probe: Probe, verdict: Verdict, output: str) -> None:
            if live is self.live and not live.ended.is_set():
                self._hear(probe, verdict, output)

        return told

    def _hear(self, probe: Probe, verdict: Verdict, output: str) -> None:
        """One result of a probe."""
        live, shown = self.live, probe.kind.capitalize()
        before = (live.started, live.ready, live.unhealthy)
        if verdict.last is False and not live.killing:
            self._say(WARNING, "Unhealthy", f"{shown} probe failed: {output}".rstrip())
        if probe.kind == "readiness":
            live.ready = bool(verdict.holds)
        elif verdict.holds is False:
            live.unhealthy = f"Container {self.name} failed {probe.kind} probe, will be restarted"
        elif probe.kind == "startup" and verdict.holds:
            live.started = True
            self._probe(["liveness", "readiness"])
        if before != (live.started, live.ready, live.unhealthy):
            self._place.changed()

    async def _post_start(self, live: Live, handle: Handle) -> None:
        hook = self.container.post_start
        assert hook is not None
        target = prober.Target(self.container, self._place.address(), handle)
        good, output = await prober.ask(target, hook, float(self._place.pod().grace or 30))
        if not good and not live.ended.is_set():
            self._say(WARNING, "FailedPostStartHook", f"PostStartHook failed: {output}")
            live.unhealthy = "FailedPostStartHook"
            self._place.changed()

    async def _until_end(self, live: Live, handle: Handle) -> None:
        """Wait for the end of the attempt and write it down."""
        code = await handle.wait()
        newest = self.newest
        if live is not self.live or newest is None:
            return
        reason, message = await asyncio.to_thread(self.traces.ending, self.container, newest, code)
        ended = msgspec.structs.replace(
            newest,
            finished_at=rfc3339(self._tools.clock.now()),
            exit_code=255 if code is None else code,
            reason=reason,
            message=message,
        )
        self.attempts = [*self.attempts[:-1], ended]
        self._place.save()
        live.ready = live.started = live.killing = False
        for task in live.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        live.ended.set()
        self._plan_retry()
        self._place.changed()

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def _policy(self) -> str:
        """The restart policy that holds for this container."""
        pod, container = self._place.pod(), self.container
        if container.is_sidecar:
            return "Always"
        return "OnFailure" if container.init and pod.restart_policy == "Always" else pod.restart_policy

    def _plan_retry(self) -> None:
        """When the next attempt may begin; a wait that is worth saying is said."""
        newest, pod, live = self.newest, self._place.pod(), self.live
        if newest is None or not restarts(self._policy(), seen_of(newest)) or pod.is_terminating or pod.is_finished:
            return
        ended = datetime.fromisoformat(newest.finished_at).timestamp()
        wait = self.delay.wait_until(ended) - self._wall()
        if wait <= 0:
            return
        live.retry_at = self._tools.clock.monotonic() + wait
        live.waiting_reason = "CrashLoopBackOff"
        words = in_words(self.delay.current(ended))
        live.waiting_message = (
            f"back-off {words} restarting failed container={self.name} pod={pod.name}_{pod.namespace}({pod.uid})"
        )
        text = f"Back-off restarting failed container {self.name} in pod {pod.name}_{pod.namespace}({pod.uid})"
        self._say(WARNING, "BackOff", text)

    def retry_now(self) -> None:
        """What the container waits for may have come."""
        if self.live.waiting_reason in ("CreateContainerConfigError", "CreateContainerError"):
            self.live.retry_at = 0.0

    def stop_following(self) -> None:
        """The pod is forgotten, or the agent ends: the container itself is left alone."""
        for task in self.live.tasks:
            task.cancel()

    def _wall(self) -> float:
        return self._tools.clock.now().timestamp()

    def _say(self, type: str, reason: str, message: str) -> None:
        self._tools.events.event(Involved.of(self._place.pod().tree, self.field_path), type, reason, message)


def _pulled(container: Container, image: Image) -> str:
    text = f'Container image "{container.image}" already present on machine'
    return f"{text} ({image.substituted})" if image.substituted else text


def seen_of(record: AttemptRecord) -> Seen:
    """An attempt as the decision sees it."""
    return Seen(
        state="exited" if record.ended else "running",
        attempt=record.attempt,
        id=record.id,
        image_id=record.image_id,
        started_at=datetime.fromisoformat(record.started_at) if record.started_at else None,
        finished_at=datetime.fromisoformat(record.finished_at) if record.finished_at else None,
        exit_code=record.exit_code,
        reason=record.reason,
        message=record.message,
        resources=record.resources,
    )
