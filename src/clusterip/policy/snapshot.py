"""Fold informer caches into one frozen picture.

Stage: snapshot.  In: changes of Pods, Namespaces, NetworkPolicies and the Node.  Out: Picture.
Rules: no socket, no clock; what says the same again leaves the picture the same object.  Of two pods with one address
the younger has it: the older one is on its way out.
"""

from __future__ import annotations

from collections.abc import Callable

from clusterip.api.meta import ObjectKey
from clusterip.policy.model import IPAddress, Labels, Node, Picture, Pod, Policy


class Collector:
    """Takes changes in, gives pictures out. Subscribe its methods to informers; `on_change` is called for news."""

    def __init__(self, node: Node, on_change: Callable[[], None] = lambda: None) -> None:
        self.node, self._on_change = node, on_change
        self._owners: dict[IPAddress, tuple[Pod, ...]] = {}  # of each address, the one that has it first
        self._namespaces: dict[str, Labels] = {}
        self._policies: dict[ObjectKey, Policy] = {}
        self._picture: Picture | None = None

    def picture(self) -> Picture:
        """All of it now."""
        if self._picture is None:
            pods = {address: owners[0] for address, owners in self._owners.items()}
            self._picture = Picture(self.node, pods, dict(self._namespaces), dict(self._policies))
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
        self._news()

    def on_namespace(self, key: tuple[str, str], old: Labels | None, new: Labels | None) -> None:
        if new is None:
            self._namespaces.pop(key[1], None)
        else:
            self._namespaces[key[1]] = new
        if old != new:
            self._news()

    def on_policy(self, key: tuple[str, str], old: Policy | None, new: Policy | None) -> None:
        if new is None:
            self._policies.pop(ObjectKey(*key), None)
        else:
            self._policies[ObjectKey(*key)] = new
        if old != new:
            self._news()

    def on_node(self, key: tuple[str, str], old: Node | None, new: Node | None) -> None:
        """A node that is deleted keeps its pods' rules until they go too."""
        if new is not None and new != self.node:
            self.node = new
            self._news()

    def _news(self) -> None:
        self._picture = None
        self._on_change()
