"""What to do next for one pod.

Stage: plan.  In: the pod as wanted, what was seen of it, the back-off, the time.  Out: steps, and when to look again.
Rules: pure; level driven: the same picture always gives the same steps, whatever happened before.
Truth: the kubelet's computePodActions; KEP-753 for sidecars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from clusterip.node.allocation import changed, resources_of, restarts_for
from clusterip.node.model import Container, Pod, PodSeen, Seen


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make the sandbox, fetch and mount the volumes."""


@dataclass(frozen=True, slots=True)
class Start:
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Kill:
    name: str
    grace: int
    why: str = ""  # empty: the pod ends


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the endpoints leave before anyone is told to stop."""


@dataclass(frozen=True, slots=True)
class Resize:
    """Give a running container what its pod was granted."""

    name: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    """All containers are over: free network, volumes, cgroup."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Write the last status, delete the API object, forget the pod."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The pod itself fails."""

    reason: str
    message: str


EVICTED = "Evicted"
EVICTION_GRACE = 1
"""Seconds that the containers of a pod get that must go at once."""

Step = Prepare | Start | Kill | Resize | Drain | RemoveSandbox | Finish | Fail


@dataclass(frozen=True, slots=True)
class Decision:
    """The steps that can be taken now, and the monotonic time of the next look (0: when something happens)."""

    steps: Sequence[Step] = ()
    wake_at: float = 0.0


def decide(pod: Pod, seen: PodSeen, now: float, wall: datetime | None = None) -> Decision:
    """The next steps; none when there is nothing to do before something else happens."""
    if pod.is_terminating or seen.vanished:
        return _end(pod, seen, last=Finish())
    if pod.is_finished or seen.failure or is_over(pod, seen):
        return _end(pod, seen, last=None)
    late = _deadline(pod, wall)
    if late and late[0]:
        return Decision((Fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"),))
    if not seen.prepared:
        return Decision((Prepare(),)) if seen.retry_at <= now else Decision(wake_at=seen.retry_at)
    steps, wakes = _advance(pod, seen, now)
    if late:
        wakes.append(now + late[1])
    return Decision(steps, min(wakes, default=0.0))


def is_over(pod: Pod, seen: PodSeen) -> bool:
    """Whether no container will ever be started again."""
    if failed_init(pod, seen):
        return True
    app = [seen.of(c.name) for c in pod.app_containers]
    return bool(app) and all(s.state == "exited" and not restarts(pod.restart_policy, s) for s in app)


def failed_init(pod: Pod, seen: PodSeen) -> bool:
    """Whether an init container failed for good."""
    plain = [seen.of(c.name) for c in pod.init_containers if not c.is_sidecar]
    return pod.restart_policy == "Never" and any(s.state == "exited" and s.exit_code != 0 for s in plain)


def restarts(policy: str, seen: Seen) -> bool:
    """Whether an ended container begins again."""
    return policy == "Always" or (policy == "OnFailure" and seen.exit_code != 0)


def initialized(pod: Pod, seen: PodSeen) -> bool:
    """Whether every init container has done its part."""
    return all(_init_done(c, seen.of(c.name)) for c in pod.init_containers)


def _init_done(container: Container, seen: Seen) -> bool:
    if container.is_sidecar:
        return (seen.state == "running" and seen.started) or seen.attempt > 0
    return seen.state == "exited" and seen.exit_code == 0


def _advance(pod: Pod, seen: PodSeen, now: float) -> tuple[list[Step], list[float]]:
    """Starts and probe kills of a pod that shall run."""
    steps: list[Step] = []
    wakes: list[float] = []
    begun = any(seen.of(c.name).state != "none" for c in pod.app_containers)
    for container in pod.init_containers:
        one = seen.of(container.name)
        if container.is_sidecar:
            _keep(pod, container, one, "Always", now, steps, wakes)
        elif not begun:
            _keep(pod, container, one, "OnFailure" if pod.restart_policy != "Never" else "Never", now, steps, wakes)
        if not begun and not _init_done(container, one):
            return steps, wakes
    for container in pod.ephemeral_containers:
        _keep(pod, container, seen.of(container.name), "Never", now, steps, wakes)
    for container in pod.app_containers:
        _keep(pod, container, seen.of(container.name), pod.restart_policy, now, steps, wakes)
    return steps, wakes


def _keep(
    pod: Pod, container: Container, seen: Seen, policy: str, now: float, steps: list[Step], wakes: list[float]
) -> None:
    """What one container needs."""
    if seen.state == "running":
        if seen.unhealthy and not seen.killing:
            steps.append(Kill(container.name, probe_grace(pod, container, seen.unhealthy), seen.unhealthy))
        elif not seen.killing:
            _resize(pod, container, seen, now, steps, wakes)
        return
    if seen.state == "exited" and not restarts(policy, seen):
        return
    if seen.retry_at > now:
        wakes.append(seen.retry_at)
    else:
        steps.append(Start(container.name, seen.attempt + 1))


def _resize(pod: Pod, container: Container, seen: Seen, now: float, steps: list[Step], wakes: list[float]) -> None:
    """A running container gets what its pod was granted, at once or by beginning anew."""
    names = changed(seen.resources, resources_of(container))
    if not names:
        return
    if restarts_for(container, names):
        steps.append(Kill(container.name, pod.grace, f"Container {container.name} resize requires restart"))
    elif seen.resize_at > now:
        wakes.append(seen.resize_at)
    else:
        steps.append(Resize(container.name))


def probe_grace(pod: Pod, container: Container, unhealthy: str) -> int:
    """A probe may carry its own grace period."""
    for kind, probe in container.probes.items():
        if probe.grace is not None and kind in unhealthy.lower():
            return probe.grace
    return pod.grace


def _end(pod: Pod, seen: PodSeen, last: Step | None) -> Decision:
    """Kill what runs (sidecars after the others, in reverse), then remove the sandbox, then the last step."""
    main = (*pod.ephemeral_containers, *pod.app_containers)
    running = [c for c in main if seen.of(c.name).state == "running"]
    running = running or [c for c in pod.init_containers if not c.is_sidecar and seen.of(c.name).state == "running"]
    running = running or [c for c in reversed(pod.init_containers) if seen.of(c.name).state == "running"][:1]
    if running:
        if not seen.drained and last is not None:
            return Decision((Drain(),))
        grace = EVICTION_GRACE if seen.failure == EVICTED else pod.grace
        return Decision([Kill(c.name, grace) for c in running if not seen.of(c.name).killing])
    if seen.sandbox:
        return Decision((RemoveSandbox(),))
    return Decision((last,)) if last is not None else Decision()


def _deadline(pod: Pod, wall: datetime | None) -> tuple[bool, float] | None:
    """Whether activeDeadlineSeconds has passed, and the seconds that are left."""
    seconds, start = pod.spec.get("activeDeadlineSeconds"), pod.status.get("startTime")
    if seconds is None or not start or wall is None:
        return None
    left = (datetime.fromisoformat(start) + timedelta(seconds=int(seconds)) - wall).total_seconds()
    return left <= 0, max(left, 0.0)
