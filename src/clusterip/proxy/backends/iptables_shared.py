"""The chains that Services share: a line belongs to its owner, a chain is all owners' lines in order.

Stage: compile to commit.  In: Changes with entries.  Out: stages of Changes with whole chains, for the kernel.
Rules: pure; lines stand sorted by owner, the tail last, as a first sync writes them.  A frontend that begins to have
endpoints is refused until it is translated, one that loses them is refused before it is no longer: the filter table
grows first and shrinks last, so that no first packet of a connection slips through between two tables.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeAlias

from clusterip.diff import Changes
from clusterip.kernel.iptables import ChainKey, Key, Rules, Value
from clusterip.proxy.backends.iptables_chains import FILTER, SHARED, TAIL, EntryKey

AnyKey: TypeAlias = Key | EntryKey
Stages: TypeAlias = tuple[Changes[Key, Value], ...]
_OWNER = re.compile(r'--comment "([^" ]*/[^" ]*)[" ]')


@dataclass(frozen=True, slots=True)
class Shared:
    """One shared chain: who has which lines, and how they stand in the kernel; None: there is no such chain."""

    entries: Mapping[str, Rules] = field(default_factory=dict)
    owners: tuple[str, ...] = ()  # sorted
    lines: Rules | None = None


Held: TypeAlias = Mapping[ChainKey, Shared]
NOTHING: Held = dict.fromkeys(SHARED, Shared())


def owner_of(rule: str) -> str:
    """Whose line it is: our comments begin with the name of the service port."""
    found = _OWNER.search(rule)
    return found[1] if found else TAIL


def taken_apart(state: Mapping[Key, Value]) -> tuple[dict[AnyKey, Value], Held]:
    """What was read, with entries in place of shared chains' lines; and these chains as they stand."""
    values: dict[AnyKey, Value] = {key: value for key, value in state.items() if key not in NOTHING}
    held = dict(NOTHING)
    for key in SHARED:
        lines = state.get(key)
        if not isinstance(lines, tuple):
            continue
        entries: dict[str, Rules] = {}
        for line in lines:
            owner = owner_of(line)
            entries[owner] = (*entries.get(owner, ()), line)
        held[key] = Shared(entries, tuple(sorted(entries)), lines)
        values[key] = ()
        values |= {EntryKey(*key, owner): rules for owner, rules in entries.items()}
    return values, held


def in_stages(held: Held, changes: Changes[AnyKey, Value]) -> tuple[Stages, Held]:
    """The changes with whole chains, in the order in which they are safe; and the shared chains after them."""
    put, remove, touched = _sorted_out(changes)
    after = dict(held)
    growing: Changes[Key, Value] = Changes({}, {})
    shrinking: Changes[Key, Value] = Changes({}, {})
    main: Changes[Key, Value] = Changes(put, remove)
    for key in touched:
        before, now = held[key], _changed(held[key], key, changes)
        after[key] = now
        middle = _both(before, now) if key.table == FILTER else now.lines
        first = growing if key.table == FILTER else main
        _replace(first, key, before.lines, middle)
        _replace(shrinking, key, middle, now.lines)
    return tuple(stage for stage in (growing, main, shrinking) if stage), after


def _sorted_out(changes: Changes[AnyKey, Value]) -> tuple[dict[Key, Value], dict[Key, Value], dict[ChainKey, None]]:
    """Changes that concern no shared chain, and the shared chains that the others concern."""
    touched: dict[ChainKey, None] = {}
    sides: list[dict[Key, Value]] = []
    for side in (changes.put, changes.remove):
        plain: dict[Key, Value] = {}
        for key, value in side.items():
            if isinstance(key, EntryKey):
                touched[ChainKey(key.table, key.chain)] = None
            elif isinstance(key, ChainKey) and key in NOTHING:
                touched[key] = None
            else:
                plain[key] = value
        sides.append(plain)
    return sides[0], sides[1], touched


def _changed(before: Shared, key: ChainKey, changes: Changes[AnyKey, Value]) -> Shared:
    """The chain after the changes."""
    if key in changes.remove and key not in changes.put:
        return Shared()
    entries, owners = dict(before.entries), list(before.owners)
    for entry in _entries(key, changes.remove):
        if entries.pop(entry.owner, None) is not None and entry not in changes.put:
            owners.remove(entry.owner)
    for entry in _entries(key, changes.put):
        if entry.owner not in before.entries:
            insort(owners, entry.owner)
        value = changes.put[entry]
        assert isinstance(value, tuple)
        entries[entry.owner] = value
    return replace(Shared(entries, tuple(owners)), lines=_joined(entries, owners))


def _entries(key: ChainKey, side: Mapping[AnyKey, Value]) -> list[EntryKey]:
    return [entry for entry in side if isinstance(entry, EntryKey) and entry[:2] == key]


def _joined(entries: Mapping[str, Rules], owners: Iterable[str]) -> Rules:
    return tuple(chain.from_iterable(map(entries.__getitem__, owners)))


def _both(before: Shared, now: Shared) -> Rules | None:
    """Old and new lines together."""
    if before.lines is None or now.lines is None:
        return now.lines
    gone = {owner: rules for owner, rules in before.entries.items() if now.entries.get(owner) != rules}
    if not gone:
        return now.lines
    entries = dict(now.entries)
    for owner, rules in gone.items():
        entries[owner] = (*rules, *(rule for rule in entries.get(owner, ()) if rule not in rules))
    return _joined(entries, sorted(entries))


def _replace(stage: Changes[Key, Value], key: ChainKey, old: Rules | None, new: Rules | None) -> None:
    if old == new:
        return
    assert isinstance(stage.put, dict)
    assert isinstance(stage.remove, dict)
    if new is not None:
        stage.put[key] = new
    if old is not None:
        stage.remove[key] = old
