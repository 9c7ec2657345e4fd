"""Large changes of the nft variant in pieces that each cost little.

Stage: commit.  In: Changes.  Out: the same changes as several, to be made one after the other.
Rules: pure; a chain comes after those that it leads to, and goes before them, so that every piece is taken; chains that
are new are led to by nothing until the chains that are changed follow, so that no packet sees a half of them.
Truth: iptables 1.8.9, nft_cache: the names of all chains of one restore stand in a list that is searched from its head
for each line, so that a restore of 40,000 chains takes minutes, and 40 restores of 1,000 take two seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from clusterip.diff import Changes
from clusterip.kernel.iptables_listing import target
from clusterip.kernel.iptables_state import ChainKey, JumpKey, Key, Rules, Value

K = TypeVar("K")
CHAINS = 1000  # in one restore


def pieces(changes: Changes[Key, Value], chains: int = CHAINS) -> Iterator[Changes[Key, Value]]:
    """The changes in an order that the kernel takes; as they are when they are few."""
    if sum(isinstance(key, ChainKey) for key in (*changes.put, *changes.remove)) <= chains:
        yield changes
        return
    new = _of(changes.put, changes.remove)
    gone = _of(changes.remove, changes.put)
    for keys in _batches(_callees_first(new), chains):
        yield Changes(put={key: new[key] for key in keys})
    yield from _middle(changes, {*new, *gone}, chains)
    for keys in _batches(_callees_first(gone)[::-1], chains):
        yield Changes(remove={key: gone[key] for key in keys})


def _middle(changes: Changes[Key, Value], without: set[ChainKey], chains: int) -> Iterator[Changes[Key, Value]]:
    """Chains that are changed, with the jumps at last."""
    keys = dict.fromkeys(key for key in (*changes.put, *changes.remove) if key not in without)
    for batch in _batches(sorted(keys, key=lambda key: isinstance(key, JumpKey)), chains):
        put, remove = ({key: side[key] for key in batch if key in side} for side in (changes.put, changes.remove))
        yield Changes(put, remove)


def _batches(keys: Sequence[K], size: int) -> Iterator[Sequence[K]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _of(values: Mapping[Key, Value], without: Mapping[Key, Value]) -> dict[ChainKey, Rules]:
    """The chains of one side that are not on the other."""
    return {
        key: value
        for key, value in values.items()
        if isinstance(key, ChainKey) and isinstance(value, tuple) and key not in without
    }


def _callees_first(chains: Mapping[ChainKey, Rules]) -> Sequence[ChainKey]:
    """The chains, each behind those that it leads to. Rules never lead in a circle: the kernel refuses that."""
    done: dict[ChainKey, None] = {}
    for start in chains:
        waiting = [start]
        while waiting:
            key = waiting[-1]
            before = [called for called in _called(key, chains[key]) if called in chains and called not in done]
            if before and len(waiting) <= len(chains):
                waiting += before
            else:
                done[key] = None
                waiting.pop()
    return list(done)


def _called(key: ChainKey, rules: Rules) -> Iterator[ChainKey]:
    return (ChainKey(key.table, target(rule)) for rule in rules)
