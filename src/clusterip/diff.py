"""One diff for every state that is programmed somewhere.

Stage: diff.  In: two mappings of frozen keys to frozen values.  Out: what to put and what to remove.
Rules: pure.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Changes(Generic[K, V]):
    """A set of changes: values to put, and former values to remove. A changed value is in both."""

    put: Mapping[K, V] = field(default_factory=dict)
    remove: Mapping[K, V] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.put or self.remove)

    def __len__(self) -> int:
        return len(self.put) + len(self.remove)


def diff(old: Mapping[K, V], new: Mapping[K, V]) -> Changes[K, V]:
    """The changes that turn old into new."""
    return Changes(
        put={k: v for k, v in new.items() if k not in old or old[k] != v},
        remove={k: v for k, v in old.items() if k not in new or new[k] != v},
    )


def patched(old: Mapping[K, V], changes: Changes[K, V]) -> dict[K, V]:
    """What old becomes once the changes are made."""
    return {**{k: v for k, v in old.items() if k not in changes.remove}, **changes.put}


Parts: TypeAlias = Mapping[Hashable, Mapping[K, V]]


def diff_parts(old: Parts[K, V], new: Parts[K, V]) -> Changes[K, V]:
    """As diff, for states in disjoint parts: those that are the same object are not looked at."""
    put: dict[K, V] = {}
    remove: dict[K, V] = {}
    empty: Mapping[K, V] = {}
    for name, part in new.items():
        before = old.get(name, empty)
        if before is part:
            continue
        for key, value in part.items():  # thousands of small parts: no value of a diff for each
            if key not in before:
                put[key] = value
            elif (was := before[key]) != value:
                put[key], remove[key] = value, was
        remove |= {key: value for key, value in before.items() if key not in part}
    for name, part in old.items():
        if name not in new:
            remove |= part
    return _without_moves(put, remove)


def with_due(changes: Changes[K, V], due: Mapping[K, V]) -> Changes[K, V]:
    """Changes joined with removals that are still to be made: a key that came back stays, or is replaced."""
    return _without_moves(dict(changes.put), {**due, **changes.remove}) if due else changes


def flat(parts: Parts[K, V]) -> dict[K, V]:
    """The parts as one state."""
    return {key: value for part in parts.values() for key, value in part.items()}


def _without_moves(put: dict[K, V], remove: dict[K, V]) -> Changes[K, V]:
    """A key that went from one part to another unchanged is no change."""
    moved = [key for key, value in put.items() if key in remove and remove[key] == value]
    for key in moved:
        del put[key], remove[key]
    return Changes(put, remove)
