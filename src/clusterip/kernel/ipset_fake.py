"""IP sets in memory, for tests: the same Protocol, the same refusals.

Stage: commit and read, without a kernel.  In: Changes.  Out: the State that the kernel would list.
Rules: held to the kernel by tests/contract/test_ipset.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clusterip.diff import Changes
from clusterip.kernel.ipset import (
    ADD,
    CREATE,
    ENTRY,
    HASH_IP_PORT_NET,
    MAXIMUM,
    REASONS,
    EntryKey,
    IpsetError,
    Key,
    SetKey,
    SetSpec,
    State,
    Value,
    ordered,
)


class FakeIpset:
    """Sets in a dictionary. `used` are sets that rules refer to: they cannot be destroyed."""

    def __init__(self) -> None:
        self.sets: dict[str, SetSpec] = {}
        self.entries: dict[str, set[str]] = {}
        self.used: set[str] = set()
        self.commits: list[Changes[Key, Value]] = []

    def commit(self, changes: Changes[Key, Value]) -> None:
        self.commits.append(changes)
        reasons = {key: self._do(kind, key, value) for kind, key, value in ordered(changes)}
        if refused := {key: reason for key, reason in reasons.items() if reason}:
            raise IpsetError(refused)

    def _do(self, kind: int, key: Key, value: Value) -> str:
        """The reason of a refusal; empty when it was done."""
        if isinstance(key, EntryKey):
            return self._add(key) if kind == ADD else self._delete(key)
        return self._create(key, value) if kind == CREATE else self._destroy(key)

    def _create(self, key: SetKey, value: Value) -> str:
        assert isinstance(value, SetSpec)
        self.entries.setdefault(key.name, set())
        return "File exists" if self.sets.setdefault(key.name, value) != value else ""

    def _destroy(self, key: SetKey) -> str:
        if key.name in self.used & set(self.sets):
            return REASONS[4100]
        self.sets.pop(key.name, None)
        self.entries.pop(key.name, None)
        return ""

    def _add(self, key: EntryKey) -> str:
        spec = self.sets.get(key.set)
        if spec is None:
            return "No such file or directory"
        if spec.type == HASH_IP_PORT_NET and key.entry.endswith("/0"):
            return REASONS[4104]
        if len(self.entries[key.set]) >= MAXIMUM:
            return REASONS[4352]
        self.entries[key.set].add(key.entry)
        return ""

    def _delete(self, key: EntryKey) -> str:
        self.entries.get(key.set, set()).discard(key.entry)
        return ""

    def read(self, names: Iterable[str]) -> State:
        found: dict[Key, Value] = {}
        for name in set(names) & set(self.sets):
            found[SetKey(name)] = self.sets[name]
            found |= {EntryKey(name, entry): ENTRY for entry in self.entries[name]}
        return found

    def sizes(self, names: Iterable[str]) -> Mapping[str, int]:
        return {name: len(self.entries[name]) for name in names if name in self.sets}
