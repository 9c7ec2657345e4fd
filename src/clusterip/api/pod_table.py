"""What `kubectl get pods` shows of a pod: how many containers are ready, in a word how it fares, its restarts.

Stage: none; pure.  In: a pod and the moment.  Out: cells.
Truth: kube-apiserver's printer of pods.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clusterip.api.meta import Tree, is_terminating, spec_of
from clusterip.api.pod import is_sidecar
from clusterip.api.resource import Column
from clusterip.api.tables import AGE, NAME, NONE, fixed, since, text

TERMINAL = ("Succeeded", "Failed")


@dataclass(slots=True)
class Summary:
    """A pod in one line."""

    word: str
    ready: int = 0
    total: int = 0
    restarts: int = 0
    last_restart: str = ""

    def count_restarts(self, container: Tree) -> None:
        self.restarts += container.get("restartCount") or 0
        ended = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.last_restart = max(self.last_restart, ended)


def summary(pod: Tree) -> Summary:
    """What the table says of a pod."""
    spec, status = spec_of(pod), pod.get("status") or {}
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if is_sidecar(c)}
    found = Summary(_phase_word(status), total=len(spec.get("containers") or ()) + len(sidecars))
    initializing = _read_init_containers(found, spec, status, sidecars)
    if not initializing or _condition(status, "Initialized"):
        found.restarts, found.last_restart = 0, ""
        for container in status.get("initContainerStatuses") or ():
            if container.get("name") in sidecars:
                found.count_restarts(container)
        _read_containers(found, status)
    if is_terminating(pod):
        if status.get("reason") == "NodeLost":
            found.word = "Unknown"
        elif status.get("phase") not in TERMINAL:
            found.word = "Terminating"
    return found


def _phase_word(status: Tree) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return status.get("reason") or status.get("phase") or ""


def _condition(status: Tree, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def _ended_word(terminated: Tree) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _read_init_containers(found: Summary, spec: Tree, status: Tree, sidecars: set[str]) -> bool:
    """Whether one of them is still at work or has failed: it names the pod's state then."""
    total = len(spec.get("initContainers") or ())
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        found.count_restarts(container)
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended and not ended.get("exitCode"):
            continue
        if container.get("name") in sidecars and container.get("started"):
            found.ready += bool(container.get("ready"))
            continue
        if ended:
            found.word = f"Init:{_ended_word(ended)}"
        elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
            found.word = f"Init:{waiting['reason']}"
        else:
            found.word = f"Init:{index}/{total}"
        return True
    return False


def _read_containers(found: Summary, status: Tree) -> None:
    running = False
    for container in reversed(status.get("containerStatuses") or []):
        found.count_restarts(container)
        state = container.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            found.word = state["waiting"]["reason"]
        elif state.get("terminated"):
            found.word = _ended_word(state["terminated"])
        elif container.get("ready") and state.get("running") is not None:
            running = True
            found.ready += 1
    if found.word == "Completed" and running:
        found.word = "Running" if _condition(status, "Ready") else "NotReady"


def _ready(pod: Tree) -> str:
    found = summary(pod)
    return f"{found.ready}/{found.total}"


def _restarts(pod: Tree, now: datetime) -> str:
    found = summary(pod)
    if not found.restarts or not found.last_restart:
        return str(found.restarts)
    return f"{found.restarts} ({since(found.last_restart, now)} ago)"


def _gates(pod: Tree) -> str:
    gates = spec_of(pod).get("readinessGates") or []
    met = sum(_condition(pod.get("status") or {}, gate.get("conditionType", "")) for gate in gates)
    return f"{met}/{len(gates)}" if gates else NONE


COLUMNS = (
    NAME,
    Column("Ready", fixed(_ready), says="The aggregate readiness state of this pod for accepting traffic."),
    Column(
        "Status",
        fixed(lambda pod: summary(pod).word),
        says="The aggregate status of the containers in this pod.",
    ),
    Column(
        "Restarts",
        _restarts,
        says="The number of times the containers in this pod have been restarted and when the last container in this "
        "pod has restarted.",
    ),
    AGE,
    Column("IP", text("status", "podIP", otherwise=NONE), says="@core.v1.PodStatus.podIP", priority=1),
    Column("Node", text("spec", "nodeName", otherwise=NONE), says="@core.v1.PodSpec.nodeName", priority=1),
    Column(
        "Nominated Node",
        text("status", "nominatedNodeName", otherwise=NONE),
        says="@core.v1.PodStatus.nominatedNodeName",
        priority=1,
    ),
    Column("Readiness Gates", fixed(_gates), says="@core.v1.PodSpec.readinessGates", priority=1),
)
