"""From the wish to end a pod to the first signal: its endpoints leave the proxies meanwhile.

Stage: shell.  In: the pod, whether it took traffic.  Out: a wait that ends; how much of the grace period it took.
Rules: never longer than the grace period allows; whoever shortens that is in a hurry, and the wait ends.
Truth: KEP-1672 (terminating endpoints); with `--strict-drain`, strictdrain.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from clusterip.client.events import WARNING
from clusterip.node.model import Pod
from clusterip.node.settings import Tools

STRICT_SHARE = 0.5  # of the grace period may pass before a pod is told to stop
LEAST_SECONDS = 1.0  # that are left for its containers


class Leaving:
    """One pod's."""

    def __init__(self, tools: Tools, pod: Callable[[], Pod], say: Callable[[str, str, str], None]) -> None:
        self._tools, self._pod, self._say = tools, pod, say
        self.hurry = asyncio.Event()
        self.is_over = False
        self._took = 0.0

    def left(self, grace: float) -> float:
        """What remains of a grace period."""
        return max(grace - self._took, LEAST_SECONDS) if grace > 0 else grace

    async def wait(self, *, was_ready: bool) -> None:
        """Endpoints of a pod that is being deleted leave the proxies a moment before it is told to stop."""
        if was_ready and self._pod().grace > 0:
            began = self._tools.clock.monotonic()
            await self._strictly(self._pod().grace * STRICT_SHARE)
            if not self.hurry.is_set():
                await asyncio.sleep(min(self._tools.settings.drain_seconds, self._pod().grace))
            self._took = self._tools.clock.monotonic() - began
        self.is_over = True

    async def _strictly(self, seconds: float) -> None:
        """Wait until no proxy sends new connections, unless somebody is in a hurry."""
        drain, pod = self._tools.strict_drain, self._pod()
        if drain is None:
            return
        waiting = asyncio.ensure_future(drain.wait(pod.namespace, pod.uid, seconds))
        hurry = asyncio.ensure_future(self.hurry.wait())
        try:
            await asyncio.wait((waiting, hurry), return_when=asyncio.FIRST_COMPLETED)
            late = waiting.result() if waiting.done() else ()
        finally:
            for task in (waiting, hurry):
                task.cancel()
        if late:
            text = f"stopping although not everyone has heard within {seconds:.0f} s: {', '.join(late)}"
            self._say(WARNING, "DrainIncomplete", text)
