"""One diff for every state that is programmed somewhere.

Stage: diff.  In: two mappings of frozen keys to frozen values.  Out: what to put and what to remove.
Rules: pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

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
