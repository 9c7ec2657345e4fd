"""What Services hold: cluster IPs as IPAddress objects, node ports as keys of their own; and where they come from.

Stage: decide, inside the write path.  In: a Service before and after.  Out: the objects made and removed with it.
Rules: an address is held by its IPAddress, a node port by its key below PORTS, and by nothing else.  Each is made in
       the transaction that writes the Service, as a key that must not exist yet: whoever else gives the same one,
       another server on the same store too, loses by compare-and-swap and decides anew.  Nothing is kept in memory.
Truth: kube-apiserver's registry/core/service/{ipallocator,portallocator}, KEP-1880 (ServiceCIDR).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from clusterip.api.allocation import Address, Ranges, Taken, held
from clusterip.api.families import Network
from clusterip.api.meta import Tree
from clusterip.api.resources.networking import DEFAULT_RANGE, address_object, is_open_range
from clusterip.apiserver import objects
from clusterip.apiserver.cache import Collection
from clusterip.apiserver.registry import Registry
from clusterip.apiserver.writes import Transaction
from clusterip.clock import rfc3339

if TYPE_CHECKING:
    from clusterip.apiserver.core import Core

PORTS = "ranges/servicenodeports"
NETWORKING = "networking.k8s.io"


class _Kept:
    """The keys of a collection as a write sees them, to ask with `in`."""

    __slots__ = ("_collection", "_transaction")

    def __init__(self, collection: Collection, transaction: Transaction) -> None:
        self._collection, self._transaction = collection, transaction

    def __contains__(self, item: Any) -> bool:
        return self._transaction.get(self._collection, str(item)) is not None


class Holdings:
    """Where what Services hold is kept, and the ranges that it comes from."""

    def __init__(self, registry: Registry, configured: Ranges) -> None:
        self._registry, self._configured = registry, configured
        self.ports = registry.keep(PORTS)
        self._ranges: tuple[int, Ranges] | None = None

    @property
    def addresses(self) -> Collection | None:
        return self._registry.of("ipaddresses", NETWORKING)

    def taken(self, transaction: Transaction) -> Taken:
        addresses = self.addresses
        return Taken(
            frozenset() if addresses is None else _Kept(addresses, transaction), _Kept(self.ports, transaction)
        )

    @property
    def ranges(self) -> Ranges:
        """What the server was started with, and the networks of the ServiceCIDRs that are ready."""
        found = self._registry.of("servicecidrs", NETWORKING)
        if found is None or not found.entries:
            return self._configured
        if self._ranges is None or self._ranges[0] != found.changed:
            self._ranges = found.changed, replace(self._configured, spaces=_spaces(found))
        return self._ranges[1]


def _spaces(ranges: Collection) -> tuple[Network, ...]:
    """The networks of open ranges, those of the default one first; each once."""
    trees = [
        ranges.entries[name].tree() for name in sorted(ranges.entries, key=lambda name: (name != DEFAULT_RANGE, name))
    ]
    cidrs = [cidr for tree in trees if is_open_range(tree) for cidr in tree["spec"].get("cidrs") or ()]
    return tuple(dict.fromkeys(ip_network(cidr, strict=False) for cidr in cidrs))


def follow(core: Core, transaction: Transaction, old: Tree | None, new: Tree | None) -> None:
    """Hold what the Service came to have, release what it has no more."""
    before, after = _holds(old), _holds(new)
    _follow_addresses(core, transaction, before[0], after[0], old, new)
    _follow_ports(core, transaction, before[1], after[1], old, new)


def _holds(service: Tree | None) -> tuple[set[Address], set[int]]:
    return held(service) if service is not None else (set(), set())


def _follow_addresses(
    core: Core, transaction: Transaction, before: set[Address], after: set[Address], old: Tree | None, new: Tree | None
) -> None:
    served = core.registry.find(NETWORKING, "v1", "ipaddresses")
    if served is None:
        return
    for address in before - after:
        entry = transaction.get(served.collection, str(address))
        if entry is not None and old is not None and refers_to(entry.tree(), old):
            transaction.delete(served.collection, str(address))
    for address in sorted(after - before, key=lambda each: (each.version, int(each))):
        if new is not None:
            hold_address(core, transaction, address, new)


def hold_address(core: Core, transaction: Transaction, address: Address, service: Tree) -> None:
    """Make the IPAddress of a Service's cluster IP, unless there is one."""
    served, name = core.registry.find(NETWORKING, "v1", "ipaddresses"), str(address)
    if served is None or transaction.get(served.collection, name) is not None:
        return
    metadata, resource, now = service["metadata"], served.resource, core.clock.now()
    tree = address_object(name, metadata.get("namespace", ""), metadata["name"])
    objects.begin_life(tree, now, core.random)
    tree["metadata"]["managedFields"] = [
        {**each, "time": rfc3339(now)} for each in _managed(resource.api_version, resource.schema)
    ]
    transaction.put(served.collection, name, tree)


@cache
def _managed(api_version: str, schema: str) -> list[Tree]:
    """What every IPAddress of ours says of its fields, but for the time."""
    tree, now = address_object("192.0.2.1", "of", "service"), datetime.fromtimestamp(0, UTC)
    objects.manage(None, tree, "kube-apiserver", "", api_version, now, schema)
    found: list[Tree] = tree["metadata"]["managedFields"]
    return found


def refers_to(address: Tree, service: Tree) -> bool:
    """Whether an IPAddress names this Service as its parent."""
    parent, metadata = (address.get("spec") or {}).get("parentRef") or {}, service["metadata"]
    named = (parent.get("group") or "", parent.get("resource"), parent.get("namespace") or "", parent.get("name"))
    return named == ("", "services", metadata.get("namespace", ""), metadata["name"])


def _follow_ports(
    core: Core, transaction: Transaction, before: set[int], after: set[int], old: Tree | None, new: Tree | None
) -> None:
    kept = core.holdings.ports
    for port in sorted(before - after):
        entry = transaction.get(kept, str(port))
        if entry is not None and old is not None and entry.tree().get("service") == key_of(old):
            transaction.delete(kept, str(port))
    for port in sorted(after - before):
        if new is not None:
            hold_port(core, transaction, port, new)


def hold_port(core: Core, transaction: Transaction, port: int, service: Tree) -> None:
    """Keep a node port for a Service, unless it is kept."""
    if transaction.get(core.holdings.ports, str(port)) is None:
        transaction.put(core.holdings.ports, str(port), {"metadata": {"name": str(port)}, "service": key_of(service)})


def key_of(service: Tree) -> str:
    return f"{service['metadata'].get('namespace', '')}/{service['metadata']['name']}"
