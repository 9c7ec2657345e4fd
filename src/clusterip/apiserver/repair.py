"""What Services say they hold and what is held are brought together: at start, and when somebody touches an IPAddress.

Stage: decide, inside the write path; a task for the server's life.  In: stored Services, IPAddresses and node ports.
Out: missing holdings made, leaked ones removed, a Warning event and a line of log for each.
Rules: a Service and what it holds are written in one transaction, so that only foreign hands, stores of older versions
       and damage leave work here; a Service is never changed: what only its owner can mend is said.
Truth: kube-apiserver's ipallocator-repair-controller and portallocator-repair-controller, their reasons and words.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from clusterip.api.allocation import Address, held
from clusterip.api.errors import ApiError
from clusterip.api.families import family_of
from clusterip.api.meta import Tree, labels_of
from clusterip.api.names import parse_address
from clusterip.api.resources.networking import ALLOCATOR, MANAGED_LABEL, address_object
from clusterip.api.service import HEADLESS, cluster_ips_of, needs_node_ports
from clusterip.apiserver import holdings
from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.core import Core
from clusterip.apiserver.eventing import record
from clusterip.apiserver.writes import Transaction

log = logging.getLogger(__name__)

ADDRESSES, PORTS = "ipallocator-repair-controller", "portallocator-repair-controller"
SERVICE = {"apiVersion": "v1", "kind": "Service"}
ADDRESS = {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress"}


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was wrong, and with what."""

    about: Tree
    reason: str
    text: str
    by: str = ADDRESSES

    @property
    def action(self) -> str:
        if self.by == PORTS:
            return "PortAllocation"
        return "ClusterIPAllocation" if self.about["kind"] == "Service" else "IPAddressAllocation"


async def begin(core: Core) -> None:
    """Look at everything once."""
    await _say(core, await core.writes.do(lambda transaction: list(mended(core, transaction))))


async def _say(core: Core, found: Iterable[Found]) -> None:
    for each in found:
        log.warning("Allocations were repaired", extra={"kv": {"reason": each.reason, "found": each.text}})
        await record(core, each.about, each.by, each.reason, each.action, each.text)


def mended(core: Core, transaction: Transaction) -> Iterator[Found]:
    """All Services, then what is held without one."""
    services = core.registry.of("services")
    owners: dict[int, str] = {}
    sound: set[str] = set()
    for entry in list(services.select()) if services is not None else ():
        tree = _service(entry)
        if is_sound(core, transaction, tree):  # nearly all are: the long look at each would be most of a start
            sound.update(cluster_ips_of(tree))
        else:
            yield from mend_service(core, transaction, tree)
        if needs_node_ports(tree):
            yield from _mend_ports(core, transaction, tree, owners)
    for name in list(core.holdings.addresses.entries) if core.holdings.addresses is not None else ():
        if name not in sound:
            yield from mend_address(core, transaction, name)
    for entry in list(core.holdings.ports.entries.values()):
        if int(entry.name) not in owners:
            log.warning("A node port had leaked", extra={"kv": {"port": entry.name}})
            transaction.delete(core.holdings.ports, entry.key)


def _service(entry: Entry) -> Tree:
    return {**SERVICE, **entry.tree()}


def is_sound(core: Core, transaction: Transaction, service: Tree) -> bool:
    """Whether each cluster IP is one of ours, and kept for this Service as the allocator keeps them."""
    kept, metadata = core.holdings.addresses, service["metadata"]
    texts = cluster_ips_of(service)
    if kept is None or texts == [HEADLESS]:
        return True
    for text in texts:
        address, entry = parse_address(text), transaction.get(kept, text)
        if address is None or entry is None or not core.holdings.ranges.holds(address):
            return False
        tree, wanted = entry.tree(), address_object(text, metadata.get("namespace", ""), metadata["name"])
        if labels_of(tree) != labels_of(wanted) or tree.get("spec") != wanted["spec"]:
            return False
    return True


def mend_service(core: Core, transaction: Transaction, service: Tree) -> Iterator[Found]:
    """Each cluster IP has its IPAddress, which names this Service."""
    kept = core.holdings.addresses
    for address in sorted(held(service)[0], key=str) if kept is not None else ():
        family = f"[{family_of(address)}]"
        if not core.holdings.ranges.holds(address):
            text = f"Cluster IP {family}: {address} is not within any configured Service CIDR; please recreate service"
            yield Found(service, "ClusterIPOutOfRange", text)
            continue
        entry = transaction.get(kept, str(address)) if kept is not None else None
        if entry is None:
            text = f"Cluster IP {family}: {address} is not allocated; repairing"
            yield Found(service, "ClusterIPNotAllocated", text)
        elif not _is_wrong(core, transaction, entry, address, service):
            continue
        elif _has(_parent(core, transaction, entry.tree()), address):
            text = f"Cluster IP {family}:{address} was assigned to multiple services; please recreate service"
            yield Found(service, "ClusterIPAlreadyAllocated", text)
            continue
        else:
            where = holdings.key_of(service)
            text = f"the ClusterIP {family}: {address} for Service {where} has a wrong reference; repairing"
            yield Found(service, "ClusterIPNotAllocated", text)
            _remove(transaction, kept, entry)
        holdings.hold_address(core, transaction, address, service)


def _is_wrong(core: Core, transaction: Transaction, entry: Entry, address: Address, service: Tree) -> bool:
    """An IPAddress that another refers to; one of this Service without its labels gets them, unsaid."""
    tree = entry.tree()
    if not holdings.refers_to(tree, service):
        return True
    wanted = address_object(str(address), "", "")["metadata"]["labels"]
    if any(labels_of(tree).get(name) != value for name, value in wanted.items()):
        assert core.holdings.addresses is not None
        _remove(transaction, core.holdings.addresses, entry)
        holdings.hold_address(core, transaction, address, service)
    return False


def _remove(transaction: Transaction, kept: Collection | None, entry: Entry) -> None:
    if kept is not None:
        transaction.delete(kept, entry.key)


def _parent(core: Core, transaction: Transaction, address: Tree) -> Tree | None:
    """The Service that an IPAddress names, if it lives."""
    parent: Any = (address.get("spec") or {}).get("parentRef") or {}
    services = core.registry.of("services")
    if services is None or parent.get("group") or parent.get("resource") != "services":
        return None
    entry = transaction.get(services, f"{parent.get('namespace') or ''}/{parent.get('name')}")
    return None if entry is None else _service(entry)


def _has(service: Tree | None, address: Address) -> bool:
    return service is not None and address in held(service)[0]


def mend_address(core: Core, transaction: Transaction, name: str) -> Iterator[Found]:
    """An IPAddress of the allocator belongs to a Service that has it; what others made is theirs."""
    kept = core.holdings.addresses
    entry = transaction.get(kept, name) if kept is not None else None
    address = parse_address(name)
    if entry is None or address is None or labels_of(entry.tree()).get(MANAGED_LABEL) != ALLOCATOR:
        return
    tree = {**ADDRESS, **entry.tree()}
    parent = (tree.get("spec") or {}).get("parentRef") or {}
    where = f"{parent.get('namespace') or ''}/{parent.get('name')}"
    service = _parent(core, transaction, tree)
    if _has(service, address):
        return
    if parent.get("group") or parent.get("resource") != "services":
        reason, text = "IPAddressNotAllocated", "appears to have been modified, not referencing a Service: cleaning up"
        text = f"IPAddress {name} {text}"
    elif service is None:
        reason = "IPAddressNotAllocated"
        text = f"IPAddress: {name} for Service {where} appears to have leaked: cleaning up"
    else:
        reason = "IPAddressWrongReference"
        text = f"IPAddress: {name} for Service {where} has a wrong reference; cleaning up"
    yield Found(tree, reason, text)
    _remove(transaction, kept, entry)


def _mend_ports(core: Core, transaction: Transaction, service: Tree, owners: dict[int, str]) -> Iterator[Found]:
    """Each node port is kept for this Service; `owners` says for whom those were kept that were seen so far."""
    kept, ports, key = core.holdings.ports, core.holdings.ranges.node_ports, holdings.key_of(service)
    for port in sorted(held(service)[1]):
        if owners.setdefault(port, key) != key:
            text = f"Port {port} was assigned to multiple services; please recreate service"
            yield Found(service, "PortAlreadyAllocated", text, PORTS)
            continue
        if port not in ports:
            bounds = f"{ports.start}-{ports.stop - 1}"
            text = f"Port {port} is not within the port range {bounds}; please recreate service"
            yield Found(service, "PortOutOfRange", text, PORTS)
        entry = transaction.get(kept, str(port))
        if entry is not None and entry.tree().get("service") == key:
            continue
        if entry is not None:
            transaction.delete(kept, entry.key)
        if port in ports:
            yield Found(service, "PortNotAllocated", f"Port {port} is not allocated; repairing", PORTS)
        holdings.hold_port(core, transaction, port, service)


class Repair:
    """Follows the IPAddresses that somebody else than the allocator wrote or removed."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._touched: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        core.writes.observers.append(self.observe)

    def observe(self, collection: Collection, old: Entry | None, new: Entry | None) -> None:
        """An IPAddress changed; what the allocator makes is right."""
        if collection is not self._core.holdings.addresses:
            return
        if old is None and new is not None and b'"manager":"kube-apiserver"' in new.body:
            return
        entry = old or new
        assert entry is not None
        parent: Any = (entry.tree().get("spec") or {}).get("parentRef") or {}
        owner = f"{parent.get('namespace') or ''}/{parent.get('name')}"
        if new is not None or not self._goes(owner):
            self._touched.put_nowait((entry.key, owner))

    def _goes(self, service: str) -> bool:
        """Whether the Service goes in the same transaction."""
        kept = self._core.registry.of("services")
        return kept is not None and self._core.writes.pending.get(kept.prefix + service, False) is None

    async def run(self) -> None:
        """Mend what was touched, for as long as the server lives."""
        while True:
            await self._mend(*await self._touched.get())

    async def _mend(self, name: str, owner: str) -> None:
        try:
            found = await self._core.writes.do(lambda transaction: list(self._mended(transaction, name, owner)))
            await _say(self._core, found)
        except ApiError as error:
            log.warning("An allocation could not be repaired", extra={"kv": {"address": name, "err": error.message}})

    def _mended(self, transaction: Transaction, name: str, owner: str) -> Iterator[Found]:
        services = self._core.registry.of("services")
        entry = transaction.get(services, owner) if services is not None else None
        if entry is not None and _has(_service(entry), parse_address(name)):  # type: ignore[arg-type]
            yield from mend_service(self._core, transaction, _service(entry))
        yield from mend_address(self._core, transaction, name)
