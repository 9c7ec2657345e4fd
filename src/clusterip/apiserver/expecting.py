"""An object that somebody is about to make is waited for, once and not for long.

Stage: shell around the write path.  In: a collection and a key that it does not hold yet.  Out: Pending, which ends
when the object is there or the time is over.  Rules: told by the collection, nothing is asked for again and again; an
operation waits for an object once, and then goes by what there is.
Truth: plugin/pkg/admission/serviceaccount (a new namespace's default account: ten looks, 0.1 to 0.2 s apart).
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

from clusterip.apiserver.webhooks_pending import Pending

if TYPE_CHECKING:
    from clusterip.apiserver.cache import Change, Collection
    from clusterip.apiserver.core import Call

NUMBERS = itertools.count(-3, -1)  # watches have numbers from 1, a fan has -2


def expect(call: Call, collection: Collection, key: str, seconds: float) -> None:
    """Have the operation run again when the object is there, or when it did not come in time."""
    mark = ("expected", collection.prefix, key)
    if call.consulted is not None and mark in call.consulted.answers:
        return

    async def wait() -> None:
        await appeared(collection, key, seconds)
        assert call.consulted is not None
        call.consulted.answers[mark] = True

    raise Pending(wait)


async def appeared(collection: Collection, key: str, seconds: float) -> bool:
    """Whether the object is there, now or within the time."""
    there, number = asyncio.Event(), next(NUMBERS)

    def heard(change: Change) -> None:
        if change.entry.key == key and key in collection.entries:
            there.set()

    collection.watchers[number] = heard
    try:
        if key not in collection.entries:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await there.wait()
        return key in collection.entries
    finally:
        del collection.watchers[number]
