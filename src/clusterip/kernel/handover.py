"""A connected socket becomes the event loop's own, whole or not at all.

Stage: shell.  In: the loop's own `create_connection` or `open_connection` of a socket that is connected.  Out: what it
gives.
Rules: such a beginning is never cancelled half-way.  uvloop closes the descriptor of one that is, the socket object
closes the number again, and by then the number may be another connection's.  A beginning waits for nothing but a turn
of the loop, so nobody is kept by it.
Truth: uvloop's create_connection; clusterip.client.connecting for sockets that the loop makes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def handed_over(beginning: Coroutine[Any, Any, T], give_up: Callable[[T], None]) -> T:
    """What the loop makes of the socket; when the caller is cancelled meanwhile, `give_up` ends it first."""
    task = asyncio.ensure_future(beginning)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        give_up(await task)
        raise
