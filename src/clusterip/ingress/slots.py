"""Slots: places for servers in a backend, filled and emptied without a reload.

Stage: plan.  In: what slots hold, what endpoints there are.  Out: what they are to hold, or that they are too few.
Rules: pure; an endpoint keeps its slot; a freed slot is taken again last, so that what it held has time to end.
"""

from __future__ import annotations

from clusterip.ingress.endpoints import Address

Slots = tuple[Address | None, ...]
FEWEST = 8


def room_for(number: int) -> int:
    """How many slots a backend gets: twice what it needs, in powers of two."""
    size = FEWEST
    while size < 2 * number:
        size *= 2
    return size


def fresh(endpoints: tuple[Address, ...]) -> Slots:
    return endpoints + (None,) * (room_for(len(endpoints)) - len(endpoints))


def fill(held: Slots, endpoints: tuple[Address, ...], avoid: frozenset[int] = frozenset()) -> Slots | None:
    """The slots with these endpoints; None when they do not fit. `avoid` are slots to take last."""
    wanted = set(endpoints)
    slots = [address if address in wanted else None for address in held]
    missing = [address for address in endpoints if address not in set(slots)]
    free = [index for index, address in enumerate(slots) if address is None]
    just_freed = {index for index, address in enumerate(held) if address is not None and slots[index] is None}
    free.sort(key=lambda index: (index in just_freed, index in avoid, index))
    if len(missing) > len(free):
        return None
    for index, address in zip(free, missing, strict=False):
        slots[index] = address
    return tuple(slots)


def changes(before: Slots, after: Slots) -> list[tuple[int, Address | None]]:
    """What is to be told: the new ones first, so that there is always one that serves."""
    found = [(index, new) for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    return sorted(found, key=lambda change: change[1] is None)
