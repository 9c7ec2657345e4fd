"""A pod as its node reads it, and what the node has seen of it.

Stage: snapshot.  In: the API's trees.  Out: frozen values.
Rules: pure; what is absent gets upstream's default here; the tree stays beside for what is read rarely.
Truth: core/v1 PodSpec, Container, Probe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from clusterip.api.meta import Tree

SYSTEM_IMAGE = "clusterip"  # a container of this image is a part of the product: the zygote forks it

ProbeKind = Literal["startup", "liveness", "readiness"]
PROBE_KINDS: tuple[ProbeKind, ...] = ("startup", "liveness", "readiness")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """How to ask or tell a container something: exactly one of three ways (or none: sleep)."""

    exec_command: tuple[str, ...] | None = None
    http: Mapping[str, Any] | None = None
    tcp: Mapping[str, Any] | None = None
    sleep_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe with its thresholds."""

    kind: ProbeKind
    action: Action
    initial_delay: float = 0
    period: float = 10
    timeout: float = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    grace: int | None = None


@dataclass(frozen=True)
class Container:
    """One container of a pod."""

    tree: Tree
    init: bool = False
    ephemeral: bool = False
    """Came to a pod that runs already, and is started once."""

    @cached_property
    def name(self) -> str:
        return str(self.tree["name"])

    @cached_property
    def image(self) -> str:
        return str(self.tree.get("image") or "")

    @property
    def is_sidecar(self) -> bool:
        """An init container that goes on beside the others."""
        return self.init and self.tree.get("restartPolicy") == "Always"

    @cached_property
    def probes(self) -> Mapping[ProbeKind, Probe]:
        found = {kind: self.tree.get(f"{kind}Probe") for kind in PROBE_KINDS}
        return {kind: parse_probe(kind, tree) for kind, tree in found.items() if tree}

    @property
    def pre_stop(self) -> Action | None:
        return parse_action((self.tree.get("lifecycle") or {}).get("preStop"))

    @property
    def post_start(self) -> Action | None:
        return parse_action((self.tree.get("lifecycle") or {}).get("postStart"))

    def port(self, wanted: Any) -> int:
        """A port by number or by name; ValueError when the container has no such port."""
        if isinstance(wanted, int):
            return wanted
        for port in self.tree.get("ports") or ():
            if port.get("name") == wanted:
                return int(port["containerPort"])
        if str(wanted).isdigit():
            return int(wanted)
        raise ValueError(f"couldn't find port: {wanted!r} in container {self.name}")


@dataclass(frozen=True)
class Pod:
    """One pod of this node."""

    tree: Tree

    @cached_property
    def meta(self) -> Tree:
        return self.tree.get("metadata") or {}

    @cached_property
    def spec(self) -> Tree:
        return self.tree.get("spec") or {}

    @cached_property
    def status(self) -> Tree:
        return self.tree.get("status") or {}

    @property
    def name(self) -> str:
        return str(self.meta["name"])

    @property
    def namespace(self) -> str:
        return str(self.meta.get("namespace") or "default")

    @property
    def uid(self) -> str:
        return str(self.meta["uid"])

    @property
    def is_terminating(self) -> bool:
        return bool(self.meta.get("deletionTimestamp"))

    @property
    def grace(self) -> int:
        """Seconds between SIGTERM and SIGKILL."""
        asked = self.meta.get("deletionGracePeriodSeconds")
        value = asked if asked is not None else self.spec.get("terminationGracePeriodSeconds", 30)
        return int(value)

    @property
    def restart_policy(self) -> str:
        return str(self.spec.get("restartPolicy") or "Always")

    @property
    def host_network(self) -> bool:
        return bool(self.spec.get("hostNetwork"))

    @property
    def hostname(self) -> str:
        return str(self.spec.get("hostname") or self.name)[:63].rstrip("-.")

    @property
    def is_finished(self) -> bool:
        """The API already holds a final phase: nothing is ever started again."""
        return self.status.get("phase") in ("Succeeded", "Failed")

    @cached_property
    def init_containers(self) -> Sequence[Container]:
        return [Container(tree, init=True) for tree in self.spec.get("initContainers") or ()]

    @cached_property
    def app_containers(self) -> Sequence[Container]:
        return [Container(tree) for tree in self.spec.get("containers") or ()]

    @cached_property
    def ephemeral_containers(self) -> Sequence[Container]:
        return [Container(tree, ephemeral=True) for tree in self.spec.get("ephemeralContainers") or ()]

    @property
    def containers(self) -> Sequence[Container]:
        return [*self.init_containers, *self.app_containers, *self.ephemeral_containers]

    def container(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)


def parse_pod(tree: Tree) -> Pod:
    """A pod as a watch or a list gives it; the members of a list do not say their kind."""
    return Pod({"apiVersion": "v1", "kind": "Pod", **tree})


ContainerState = Literal["none", "running", "exited"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one container: its newest attempt, and why the next one has not begun."""

    state: ContainerState = "none"
    attempt: int = -1
    id: str = ""
    image_id: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    started: bool = False  # the startup probe has passed, or there is none
    ready: bool = False
    unhealthy: str = ""  # which probe asks for a restart
    killing: bool = False
    waiting_reason: str = ""
    waiting_message: str = ""
    retry_at: float = 0.0  # monotonic; not before
    former: Seen | None = None  # the attempt before
    resources: Tree | None = None  # what the attempt runs with; None: nobody knows
    resize_error: str = ""
    resize_at: float = 0.0  # monotonic; not tried again before


NOT_SEEN = Seen()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """What was seen of one pod."""

    prepared: bool = False  # sandbox and volumes are there
    sandbox: bool = False  # a sandbox exists that must be removed at the end
    ip: str = ""
    retry_at: float = 0.0  # monotonic; preparing is not tried again before
    containers: Mapping[str, Seen] = field(default_factory=dict)
    vanished: bool = False  # the API no longer has it
    drained: bool = True  # its endpoints have had time to leave
    failure: str = ""  # reason of a failure of the pod itself (DeadlineExceeded)
    failure_message: str = ""
    refused: bool = False  # the node never took it
    pending: tuple[str, str] = ("", "")  # why it was not granted what it asks for: reason, message

    def of(self, name: str) -> Seen:
        return self.containers.get(name, NOT_SEEN)


def parse_action(tree: Tree | None) -> Action | None:
    """A probe's or hook's way of asking."""
    if not tree:
        return None
    if command := tree.get("exec"):
        return Action(exec_command=tuple(str(word) for word in command.get("command") or ()))
    if http := tree.get("httpGet"):
        return Action(http=http)
    if tcp := tree.get("tcpSocket"):
        return Action(tcp=tcp)
    if grpc := tree.get("grpc"):
        return Action(tcp={"port": grpc.get("port")})  # that something listens is all that is asked
    if sleep := tree.get("sleep"):
        return Action(sleep_seconds=float(sleep.get("seconds", 0)))
    return None


def parse_probe(kind: ProbeKind, tree: Tree) -> Probe:
    """A probe with upstream's defaults."""
    return Probe(
        kind=kind,
        action=parse_action(tree) or Action(sleep_seconds=0),
        initial_delay=tree.get("initialDelaySeconds") or 0,
        period=tree.get("periodSeconds") or 10,
        timeout=tree.get("timeoutSeconds") or 1,
        success_threshold=tree.get("successThreshold") or 1,
        failure_threshold=tree.get("failureThreshold") or 3,
        grace=tree.get("terminationGracePeriodSeconds"),
    )
