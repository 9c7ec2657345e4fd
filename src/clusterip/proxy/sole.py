"""One proxy for each network namespace: two would undo each other's work.

Stage: start.  In: nothing.  Out: a claim that is held while the process lives, however it ends.
Rules: a proxy that is ending is waited for.  Upstream has no such claim: there both write, and only the second one's
ports fail.
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from clusterip.failure import Failure
from clusterip.kernel.claim import hold, holder

NAME = "clusterip-kube-proxy"
PATIENCE_SECONDS = 5.0
AGAIN_SECONDS = 0.1


class Held(Protocol):
    """What is held until it is closed."""

    def close(self) -> None: ...


async def claim(patience_seconds: float = PATIENCE_SECONDS) -> Held:
    """Hold this namespace; Failure when another process does."""
    end = asyncio.get_running_loop().time() + patience_seconds
    while (held := _try()) is None:
        if asyncio.get_running_loop().time() >= end:
            pid = holder(NAME)
            raise Failure(
                f"another proxy programs this network namespace already ({f'process {pid}' if pid else 'elsewhere'});"
                " stop it first, or start this one in a namespace of its own"
            )
        await asyncio.sleep(AGAIN_SECONDS)
    return held


def _try() -> Held | None:
    try:
        return hold(NAME)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise Failure(f"cannot claim this network namespace for the proxy: {why}") from error
