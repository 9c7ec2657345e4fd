"""Fold informer caches into one frozen picture.

Stage: snapshot.  In: changes of Pods, Namespaces, NetworkPolicies and the Node.  Out: Picture.
Rules: no socket, no clock; what says the same again leaves the picture the same object.  Of two pods with one address
the younger has it: the older one is on its way out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from clusterip.api.meta import ObjectKey
from clusterip.policy.model import IPAddress, Labels, Node, Picture, Pod, Policy

_revisions = count(1)


class Collector:
    """Takes changes in, gives pictures out. Subscribe its methods to informers; `on_change` is called for news."""

    def __init__(self, node: Node, on_change: Callable[[], None] = lambda: None) -> None:
        self.node, self._on_change = node, on_change
        self._owners: dict[IPAddress, tuple[Pod, ...]] = {}  # of each address, the one that has it first
        self._pods: dict[IPAddress, Pod] = {}
        self._changed: set[IPAddress] = set()
        self._revision = 0
        self._namespaces: dict[str, Labels] = {}
        self._policies: dict[ObjectKey, Policy] = {}
        self._picture: Picture | None = None

    def picture(self) -> Picture:
        """All of it now."""
        if self._picture is None:
            since, self._revision = self._revision, next(_revisions)
            changed, self._changed = frozenset(self._changed), set()
            self._picture = Picture(
                self.node, dict(self._pods), self._namespaces, self._policies, changed, self._revision, since
            )
        return self._picture

    def on_pod(self, key: tuple[str, str], old: Pod | None, new: Pod | None) -> None:
        if old == new:
            return
        for address in old.addresses if old else ():
            left = tuple(pod for pod in self._owners.pop(address, ()) if pod.key != key)
            if left:
                self._owners[address] = left
        for address in new.addresses if new else ():
            assert new
            owners = (*(pod for pod in self._owners.get(address, ()) if pod.key != key), new)
            self._owners[address] = tuple(sorted(owners, key=lambda pod: (pod.created, pod.key), reverse=True))
        for address in {*(old.addresses if old else ()), *(new.addresses if new else ())}:
            self._changed.add(address)
            if address in self._owners:
                self._pods[address] = self._owners[address][0]
            else:
                self._pods.pop(address, None)
        self._news()

    def on_namespace(self, key: tuple[str, str], old: Labels | None, new: Labels | None) -> None:
        others = {name: labels for name, labels in self._namespaces.items() if name != key[1]}
        if self._namespaces.get(key[1]) != new:
            self._namespaces = others if new is None else others | {key[1]: new}
            self._news()

    def on_policy(self, key: tuple[str, str], old: Policy | None, new: Policy | None) -> None:
        name = ObjectKey(*key)
        if self._policies.get(name) == new:
            return
        self._policies = dict(self._policies)  # pictures keep what they have
        if new is None:
            del self._policies[name]
        else:
            self._policies[name] = new
        self._news()

    def on_node(self, key: tuple[str, str], old: Node | None, new: Node | None) -> None:
        """A node that is deleted keeps its pods' rules until they go too."""
        if new is not None and new != self.node:
            self.node = new
            self._news()

    def _news(self) -> None:
        self._picture = None
        self._on_change()
