"""What ipvs mode keeps in the kernel, as one flat mapping: servers, set entries, chains, addresses.

Stage: none; values.  Rules: pure; the kinds of keys are told apart by their type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from clusterip.kernel import ipset, iptables, ipvs
from clusterip.kernel.ipset import EntryKey, SetKey
from clusterip.kernel.iptables import ChainKey, JumpKey
from clusterip.kernel.ipvs import RealKey, VirtualKey


class AddressKey(NamedTuple):
    """An address on the dummy device."""

    address: str


@dataclass(frozen=True, slots=True)
class Bound:
    """That an address is there."""


BOUND = Bound()
Key: TypeAlias = iptables.Key | ipset.Key | ipvs.Key | AddressKey
Value: TypeAlias = iptables.Value | ipset.Value | ipvs.Value | Bound
State: TypeAlias = Mapping[Key, Value]


@dataclass(slots=True)
class Kinds:
    """A state by the door that each kind of key goes through."""

    sets: dict[ipset.Key, ipset.Value] = field(default_factory=dict)
    chains: dict[iptables.Key, iptables.Value] = field(default_factory=dict)
    servers: dict[ipvs.Key, ipvs.Value] = field(default_factory=dict)
    addresses: dict[AddressKey, Bound] = field(default_factory=dict)

    @classmethod
    def of(cls, state: State) -> Kinds:
        found = cls()
        doors: dict[type, dict[Any, Any]] = {
            **dict.fromkeys((SetKey, EntryKey), found.sets),
            **dict.fromkeys((ChainKey, JumpKey), found.chains),
            **dict.fromkeys((VirtualKey, RealKey), found.servers),
            AddressKey: found.addresses,
        }
        for key, value in state.items():
            doors[type(key)][key] = value
        return found

    def flat(self) -> dict[Key, Value]:
        kinds: tuple[Mapping[Any, Any], ...] = (self.sets, self.chains, self.servers, self.addresses)
        return {key: value for kind in kinds for key, value in kind.items()}

    def patch(self, put: Kinds, gone: Kinds) -> None:
        """Make the changes."""
        pairs: tuple[tuple[dict[Any, Any], Mapping[Any, Any], Mapping[Any, Any]], ...] = (
            (self.sets, put.sets, gone.sets),
            (self.chains, put.chains, gone.chains),
            (self.servers, put.servers, gone.servers),
            (self.addresses, put.addresses, gone.addresses),
        )
        for mine, new, old in pairs:
            for key in old:
                mine.pop(key, None)
            mine.update(new)


def without(keys: Mapping[Any, Any], others: Mapping[Any, Any]) -> dict[Any, Any]:
    """The items whose key is not among the others."""
    return {key: value for key, value in keys.items() if key not in others}
