"""What goes wrong with a Service on this node is said once, as an event of the Service.

Stage: status.  In: conflicts, refusals, ports that are taken.  Out: core/v1 Events, through a recorder.
Rules: nothing here decides.  A conflict is the same on every node and is said by whoever sees it first: such events
have names of their own.  What is true again after it was settled is said again.
Truth: upstream's reason where there is one (FailedToStartServiceHealthcheck).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from hashlib import sha256
from typing import Any, Protocol

from clusterip.api.meta import ObjectKey
from clusterip.client.events import WARNING, Involved
from clusterip.proxy.model import Conflict, Snapshot

CONFLICT = "FrontendConflict"
NO_HEALTH_CHECK = "FailedToStartServiceHealthcheck"
NOT_PROGRAMMED = "FailedToProgramService"
NO_SCHEDULER = "UnknownIPVSScheduler"
Words = tuple[str, str]  # reason, message


class Recorder(Protocol):
    """client.events.EventRecorder."""

    def event(self, involved: Involved, type: str, reason: str, message: str, *, key: str = "") -> None: ...


class ServiceEvents:
    """The events of one node's proxy. `uid`: of a Service by its key, empty when it is not known."""

    def __init__(self, recorder: Recorder, node_name: str, uid: Callable[[ObjectKey], str]) -> None:
        self._recorder, self._node, self._uid = recorder, node_name, uid
        self._said: dict[Hashable, dict[ObjectKey, frozenset[Words]]] = {}
        self._revisions: dict[Hashable, int] = {}

    def conflicts(self, snapshot: Snapshot) -> None:
        """Say those that are new in this snapshot."""
        family = snapshot.node.family
        said = self._said.setdefault(("conflicts", family), {})
        changed = snapshot.changed_since(self._revisions.get(family, 0))
        self._revisions[family] = snapshot.revision
        for key in said.keys() | snapshot.conflicts.keys() if changed is None else changed:
            now = frozenset((CONFLICT, _lost(conflict)) for conflict in snapshot.conflicts.get(key, ()))
            for reason, message in sorted(now - said.get(key, frozenset())):
                self._say(key, reason, message, sha256(f"{self._uid(key)} {message}".encode()).hexdigest()[:16])
            _keep(said, key, now)

    def health_port_taken(self, key: ObjectKey, port: int, why: str) -> None:
        """A Service's health check cannot be answered for now."""
        text = f'node {self._node} failed to start healthcheck "{key.namespace}/{key.name}" on port {port}: {why}'
        self._say(key, NO_HEALTH_CHECK, text)

    def refused(self, part: Hashable, why: str) -> None:
        """The kernel does not take a Service's rules."""
        if isinstance(part, ObjectKey):
            self._say(part, NOT_PROGRAMMED, f"node {self._node} goes on without the rules of this Service: {why}")

    def unknown_scheduler(self, key: ObjectKey, name: str, instead: str) -> None:
        text = f'node {self._node} has no IPVS scheduler "{name}"; connections are spread by "{instead}"'
        said = self._said.setdefault(NO_SCHEDULER, {})
        if (NO_SCHEDULER, text) not in said.get(key, ()):
            said[key] = frozenset({(NO_SCHEDULER, text)})
            self._say(key, NO_SCHEDULER, text)

    def _say(self, key: ObjectKey, reason: str, message: str, own: str = "") -> None:
        involved = Involved(kind="Service", name=key.name, namespace=key.namespace, uid=self._uid(key))
        self._recorder.event(involved, WARNING, reason, message, key=own)


def _lost(conflict: Conflict) -> str:
    owner = f"{conflict.owner.namespace}/{conflict.owner.name}"
    return f"{conflict.frontend} belongs to the older Service {owner}; this Service does without it"


def _keep(said: dict[ObjectKey, Any], key: ObjectKey, now: frozenset[Words]) -> None:
    if now:
        said[key] = now
    else:
        said.pop(key, None)
