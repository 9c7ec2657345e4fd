"""End a running container: hook, signal, patience, SIGKILL.

Stage: commit.  In: a keeper, a grace period.  Out: the container is over.
Rules: the hook's time counts as grace; a container always gets two seconds, unless its hook took none of them.
Truth: pkg/kubelet/kuberuntime killContainer (minimumGracePeriodInSeconds = 2).
"""

from __future__ import annotations

from clusterip.clock import Clock
from clusterip.node import prober
from clusterip.node.handle import wait_at_most
from clusterip.node.keeper import Keeper
from clusterip.node.sandbox import signal_number

SIGKILL = 9
LEAST_SECONDS = 2.0
LAST_SECONDS = 60.0


async def stop(keeper: Keeper, address: str, grace: float, clock: Clock) -> None:
    """Return when the container is over (or cannot be ended at all)."""
    live, newest = keeper.live, keeper.newest
    if live.handle is None or newest is None or live.ended.is_set():
        return
    deadline = clock.monotonic() + max(grace, LEAST_SECONDS)
    hook = keeper.container.pre_stop
    if hook is not None and grace > 0:
        await prober.ask(prober.Target(keeper.container, address, live.handle), hook, grace)
    live.handle.signal(signal_number(newest.stop_signal))
    left = max(deadline - clock.monotonic(), LEAST_SECONDS)
    if await wait_at_most(live.ended, left):
        return
    live.handle.signal(SIGKILL)
    await wait_at_most(live.ended, LAST_SECONDS)


async def hasten(keeper: Keeper, grace: float) -> None:
    """The grace period of a container that is being stopped has become shorter."""
    live = keeper.live
    if live.handle is not None and not await wait_at_most(live.ended, max(grace, LEAST_SECONDS)):
        live.handle.signal(SIGKILL)
