"""What a pod wishes, what its node has granted of that, and what is said of the difference.

Stage: shell.  In: the pod as the API has it, the node's judgement.  Out: the pod as granted; events.
Rules: a wish is granted whole or not at all; one that cannot be granted now is weighed again when another pod goes.
Truth: pkg/kubelet/allocation (retries, conditions), pkg/kubelet/events/resize.go for the words.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from clusterip.api.meta import Tree
from clusterip.client.events import NORMAL, WARNING
from clusterip.node.admission import Refusal
from clusterip.node.allocation import as_granted, asks_for_other, grant, resources_of, unfinished
from clusterip.node.model import Pod, PodSeen, parse_pod
from clusterip.node.record import PodRecord

Say = Callable[[str, str, str], None]
DEFERRED = "Deferred"
NOTHING = ("", "")


class Wishes:
    """One pod's."""

    def __init__(self, pod: Pod, record: PodRecord) -> None:
        former = record.granted
        self.granted = grant(parse_pod(record.tree)) if former is None else former
        self.pending = NOTHING
        """Why the newest wish is not granted: reason and message."""
        self._under_way = ""
        self.hear(pod)

    def hear(self, pod: Pod) -> None:
        """The API has a newer state of the pod."""
        self.wanted = pod
        self.pod = as_granted(pod, self.granted)

    def weigh(self, judge: Callable[[Pod], Refusal | None], say: Say) -> bool:
        """Grant what is wished, if the node can; whether something new was granted."""
        if not asks_for_other(self.wanted, self.granted):
            self.pending = NOTHING
            return False
        why = judge(self.wanted)
        if why is not None:
            self._put_off(why, say)
            return False
        self.pending, self.granted, self._under_way = NOTHING, grant(self.wanted), "granted"
        self.hear(self.wanted)
        say(NORMAL, "ResizeStarted", f"Pod resize started: {summary(self.wanted)}")
        return True

    def _put_off(self, why: Refusal, say: Say) -> None:
        if self.pending != (DEFERRED, why.message):
            self.pending = (DEFERRED, why.message)
            say(WARNING, "ResizeDeferred", f"Pod resize {DEFERRED}: {summary(self.wanted, why.message)}")

    def look(self, seen: PodSeen, say: Say) -> None:
        """Whether all that was granted is given by now."""
        left = unfinished(self.pod, seen)
        error = "; ".join(seen.of(name).resize_error for name in left if seen.of(name).resize_error)
        if error and error != self._under_way:
            say(WARNING, "ResizeError", f"Pod resize error: {summary(self.pod, error)}")
        elif self._under_way and not left:
            say(NORMAL, "ResizeCompleted", f"Pod resize completed: {summary(self.pod)}")
        self._under_way = error or ("granted" if left else "")


def summary(pod: Pod, error: str = "") -> str:
    """The resources of a pod as events say them."""
    kinds = {"initContainers": pod.init_containers, "containers": pod.app_containers}
    told: Tree = {
        kind: [{"name": one.name, "resources": resources_of(one)} for one in listed] for kind, listed in kinds.items()
    }
    told = {kind: listed for kind, listed in told.items() if listed}
    told["generation"] = pod.meta.get("generation") or 0
    return orjson.dumps({**told, "error": error} if error else told).decode()
