"""A picture as a table's state, made again only where it changed.

Stage: compile.  In: a Picture.  Out: parts: the base, each policy, each profile, each set, each pod's address.
Rules: no socket, no clock; a part that did not change is the same object as before; what comes out depends on the
picture alone, not on those before it.  A pod's change is a change of elements: of the sets of peers it belongs to, of
the ports it has by name, of the verdict maps if it is of this node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from clusterip.api.meta import ObjectKey
from clusterip.kernel.nft import Element, Key, Value, element_key
from clusterip.kernel.nft_field import pack
from clusterip.policy.model import Direction, IPAddress, Node, Picture, Pod, PodPeer, Policy
from clusterip.policy.plan import is_peer, selecting
from clusterip.policy.table import (
    NAMED_KEY,
    PODS,
    SELF,
    Need,
    Part,
    Profile,
    base,
    declared,
    needs,
    policy_part,
    profile_chain,
    profile_part,
    set_name,
)

K = TypeVar("K")
V = TypeVar("V")
Scope: TypeAlias = tuple[str, str, str]  # namespace ("": any), label, value ("": any label)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of one address: its pod, the peers it is, the policies that isolate it; None: not of this node."""

    pod: Pod
    peers: frozenset[PodPeer]
    isolated: tuple[tuple[Direction, Profile], ...] | None


@dataclass(frozen=True, slots=True)
class _News:
    """What changed, beside pods."""

    is_of_node: bool
    relabelled: frozenset[str]
    touched: frozenset[str]  # namespaces whose policies changed
    needs: frozenset[Need]  # sets that are new, or gone


class Compiler:
    """One IP family's."""

    def __init__(self, family: str) -> None:
        self._family, self._version = family, 4 if family == "ip" else 6
        self._before: Picture | None = None
        self._parts: dict[Hashable, Mapping[Key, Value]] = {}
        self._needed: Counter[Need] = Counter()
        self._needs: dict[ObjectKey, frozenset[Need]] = {}
        self._by_scope: dict[Scope, dict[PodPeer, None]] = {}
        self._entries: dict[IPAddress, _Entry] = {}
        self._policies: Mapping[str, Mapping[ObjectKey, Policy]] = {}
        self.changed: set[Hashable] = set()  # names of the parts that the last picture changed
        self._profiles: Counter[tuple[Direction, Profile]] = Counter()

    def compile(self, picture: Picture) -> Mapping[Hashable, Mapping[Key, Value]]:
        """The parts now; the mapping is a new one each time something changed."""
        before, self._before = self._before or Picture(Node("")), picture
        self.changed = set()
        if before is picture:
            return self._parts
        self._parts = dict(self._parts)
        if before.node != picture.node:
            self._have("base", base(self._family, picture.node.pod_networks))
        changed = _changed(before.policies, picture.policies)
        asked = self._take_policies(picture, changed)
        news = _News(
            is_of_node=before.node != picture.node,
            relabelled=frozenset(_changed(before.namespaces, picture.namespaces)),
            touched=frozenset(key.namespace for key in changed),
            needs=frozenset(asked),
        )
        if before.policies is not picture.policies:
            self._policies = _by_namespace(picture.policies.values())
        known = not (news.is_of_node or news.relabelled or news.touched or news.needs)
        if known and picture.changed is not None and picture.since == before.revision:
            self._take_pods(picture, news, picture.changed)
        else:
            self._take_pods(
                picture, news, (*picture.pods, *(each for each in self._entries if each not in picture.pods))
            )
        return self._parts

    def _take_pods(self, picture: Picture, news: _News, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            if address.version == self._version:
                pod = picture.pods.get(address)
                entry = self._renewed(address, pod, picture, news) if pod else None
                if entry is not self._entries.get(address) or news.needs:
                    self._put(address, entry)

    def _have(self, name: Hashable, part: Part | None) -> None:
        """Put a part in place, or take it out."""
        self.changed.add(name)
        if part is None:
            self._parts.pop(name, None)
        else:
            self._parts[name] = part

    def _renewed(self, address: IPAddress, pod: Pod, picture: Picture, news: _News) -> _Entry:
        """An address's entry; the same one when nothing changed for it."""
        old, namespace = self._entries.get(address), pod.key.namespace
        if old is None or news.is_of_node or old.pod is not pod or namespace in news.relabelled:
            return _Entry(pod, frozenset(self._peers(pod, picture)), _isolated(picture, pod, self._policies))
        peers, isolated = old.peers, old.isolated
        for need in news.needs:
            if isinstance(need, PodPeer):
                is_one = need in self._needed and is_peer(need, pod, picture)
                peers = peers | {need} if is_one else peers - {need} if need in peers else peers
        if namespace in news.touched:
            isolated = _isolated(picture, pod, self._policies)
        return old if (peers, isolated) == (old.peers, old.isolated) else _Entry(pod, peers, isolated)

    # -- policies ------------------------------------------------------------------------------------------------------

    def _take_policies(self, picture: Picture, changed: Iterable[ObjectKey]) -> set[Need]:
        """Chains and sets of policies that changed; what somebody asks for now first, or nobody any more."""
        asked: set[Need] = set()
        for key in changed:
            policy = picture.policies.get(key)
            self._have(("policy", key), policy_part(policy, self._family) if policy else None)
            now = needs(policy) if policy else frozenset[Need]()
            was = self._needs.pop(key, frozenset())
            self._needs |= {key: now} if now else {}
            self._needed.update(now)
            self._needed.subtract(was)
            asked |= now ^ was
        return {need for need in asked if self._declare(need)}

    def _declare(self, need: Need) -> bool:
        """Have the set if somebody needs it; whether that is news."""
        name = ("set", need)
        is_needed, is_there = self._needed[need] > 0, name in self._parts
        if is_needed and not is_there:
            self._have(name, declared(need, self._family))
        elif not is_needed:
            self._have(name, None)
            del self._needed[need]
        if isinstance(need, PodPeer) and is_needed != is_there:
            found = self._by_scope.setdefault(_scope(need), {})
            if is_needed:
                found[need] = None
            else:
                del found[need]
        return is_needed != is_there

    # -- pods ----------------------------------------------------------------------------------------------------------

    def _peers(self, pod: Pod, picture: Picture) -> Iterator[PodPeer]:
        """The peers that a pod is, of those that some policy asks for."""
        for namespace in (pod.key.namespace, ""):
            for label, value in (*pod.labels, ("", "")):
                for peer in self._by_scope.get((namespace, label, value), ()):
                    if is_peer(peer, pod, picture):
                        yield peer

    def _put(self, address: IPAddress, entry: _Entry | None) -> None:
        """Take an address in, or forget it; profiles come and go with those that have them."""
        old = self._entries.pop(address, None)
        if entry:
            self._entries[address] = entry
        self._count((entry.isolated or ()) if entry else (), (old.isolated or ()) if old else ())
        if entry is None:
            self._have(("address", address), None)
            return
        part = self._elements(address, entry)
        if self._parts.get(("address", address)) != part:
            self._have(("address", address), part)

    def _count(self, now: tuple[tuple[Direction, Profile], ...], was: tuple[tuple[Direction, Profile], ...]) -> None:
        self._profiles.update(now)
        self._profiles.subtract(was)
        for found in {*now, *was}:
            name = ("profile", found)
            if self._profiles[found] > 0:
                if name not in self._parts:
                    self._have(name, profile_part(found[1], found[0], self._family))
            else:
                self._have(name, None)
                del self._profiles[found]

    def _elements(self, address: IPAddress, entry: _Entry) -> Part:
        packed = address.packed
        found: Part = {element_key(set_name(peer), packed): Element() for peer in entry.peers}
        for port in entry.pod.ports:
            if self._needed.get(port.name):
                key = pack(f"{address} . {port.name.protocol} . {port.number}", NAMED_KEY, self._family)
                found[element_key(set_name(port.name), key)] = Element()
        if entry.isolated is not None:
            profiles = dict(entry.isolated)
            for direction, name in PODS.items():
                profile = profiles.get(direction)
                verdict = f"goto {profile_chain(profile, direction)}" if profile else "accept"
                found[element_key(name, packed)] = Element(verdict)
            if profiles:
                found[element_key(SELF, packed + packed)] = Element()
        return found


def _isolated(
    picture: Picture, pod: Pod, policies: Mapping[str, Mapping[ObjectKey, Policy]]
) -> tuple[tuple[Direction, Profile], ...] | None:
    """Which policies isolate a pod of this node, by direction."""
    if pod.node != picture.node.name:
        return None
    near = replace(picture, policies=policies.get(pod.key.namespace, {}))
    found = ((each, tuple(sorted(policy.key for policy in selecting(near, pod, each)))) for each in Direction)
    return tuple((direction, profile) for direction, profile in found if profile)


def _scope(peer: PodPeer) -> Scope:
    """Where a peer is looked for: pods without the label cannot be it."""
    for requirement in peer.pods.requirements:
        if requirement.operator == "=":
            return peer.namespace, requirement.key, requirement.values[0]
    return peer.namespace, "", ""


def _changed(old: Mapping[K, V], new: Mapping[K, V]) -> list[K]:
    if old is new:
        return []
    found = [key for key, value in new.items() if old.get(key) is not value and old.get(key) != value]
    return found + [key for key in old if key not in new]


def _by_namespace(policies: Iterable[Policy]) -> dict[str, dict[ObjectKey, Policy]]:
    found: dict[str, dict[ObjectKey, Policy]] = {}
    for policy in policies:
        found.setdefault(policy.key.namespace, {})[policy.key] = policy
    return found
