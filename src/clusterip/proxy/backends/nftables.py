"""nftables mode: compile a plan to the table `ip kube-proxy`, read it back, commit changes.

Stage: compile, read, commit.  In: Plan.  Out: kernel state.
Rules: no policy: verdicts are the plan's.  The compiled parts are kept per Service, by identity of its plan.
Two look-ups are not one atomic step: a slot goes one transaction after the count that could still name it, and a chain
one transaction after the element that named it; commit returns both as still due.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from clusterip.api.meta import ObjectKey
from clusterip.diff import Changes
from clusterip.failure import Failure
from clusterip.kernel.nft import (
    TABLE,
    Chain,
    Element,
    KernelNft,
    Key,
    Kind,
    Nft,
    NftError,
    SetSpec,
    State,
    TableSpec,
    Value,
    chain_key,
    element_key,
    set_key,
)
from clusterip.kernel.nft_monitor import Monitor
from clusterip.proxy.backends import BackendSettings, Compiled, Refused
from clusterip.proxy.backends import nftables_table as table
from clusterip.proxy.backends.nftables_service import Part, compile_service
from clusterip.proxy.model import Family, Node, Plan, ServicePlan, Traits

DEFAULT_MASQUERADE_BIT = 14
FIXED, SHARED = "fixed", "shared"
Parts = Mapping[Hashable, Mapping[Key, Value]]
FRONTENDS_OF = {table.ENDPOINTS: table.SERVICE_IPS, table.NODEPORT_ENDPOINTS: table.SERVICE_NODEPORTS}
TOO_LONG = "Message too long"
PIECE = 250  # elements in one transaction, when it must be short
_WORD = re.compile(r"[^\s,@{}]+")


@dataclass(slots=True)
class _Shared:
    """A key that several Services need, and how many do."""

    value: Value
    count: int = 0


class Compiler:
    """Plans to parts: one part a Service, one of what they share, one fixed. Unchanged parts are the same objects."""

    def __init__(self, mark: int) -> None:
        self._mark = mark
        self._node: Node | None = None
        self._fixed: Mapping[Key, Value] = {}
        self._made: dict[ObjectKey, tuple[ServicePlan, Part]] = {}
        self._shared: dict[Key, _Shared] = {}
        self._shared_part: dict[Key, Value] = {}

    def compile(self, plan: Plan) -> Parts:
        if plan.node != self._node:
            self._node, self._made, self._shared = plan.node, {}, {}
            self._fixed = fixed_part(plan.node, self._mark)
        changed = False
        for key in [key for key in self._made if key not in plan.services]:
            changed |= self._release(self._made.pop(key)[1])
        for key, service in plan.services.items():
            known = self._made.get(key)
            if known is None or known[0] is not service:
                part = compile_service(service, plan.node, self._mark)
                changed |= self._take(part)
                if known:
                    changed |= self._release(known[1])
                self._made[key] = (service, part)
        if changed or not plan.services:
            self._shared_part = {key: shared.value for key, shared in self._shared.items()}
        return {FIXED: self._fixed, SHARED: self._shared_part} | {
            key: part.own for key, (_, part) in self._made.items()
        }

    def _take(self, part: Part) -> bool:
        before = len(self._shared)
        for key, value in part.shared.items():
            self._shared.setdefault(key, _Shared(value)).count += 1
        return len(self._shared) != before

    def _release(self, part: Part) -> bool:
        before = len(self._shared)
        for key in part.shared:
            shared = self._shared[key]
            shared.count -= 1
            if not shared.count:
                del self._shared[key]
        return len(self._shared) != before


def fixed_part(node: Node, mark: int) -> dict[Key, Value]:
    """The table, its sets and maps, the chains that do not depend on Services, and the addresses of node ports."""
    values: dict[Key, Value] = {TABLE: table.TABLE_SPEC}
    values |= {set_key(name): spec for name, spec in table.SETS.items()}
    values |= {chain_key(name): chain for name, chain in table.fixed_chains(node, mark).items()}
    for address in node.node_port_addresses or ():
        values[element_key(table.NODEPORT_IPS, str(address))] = Element()
    return values


class Nftables:
    """The backend. See backends.Backend."""

    mode = "nftables"
    traits = Traits()

    def __init__(self, nft: Nft, masquerade_bit: int = DEFAULT_MASQUERADE_BIT, family: Family = Family.IPV4) -> None:
        self.family = family
        self._nft = nft
        self._compiler = Compiler(1 << masquerade_bit)

    async def prepare(self) -> None:
        """Whether the kernel and the program are there: the first read says what is wrong."""
        if self.family is Family.IPV6:
            raise Failure("nftables mode for IPv6 is not available yet")
        try:
            await self._nft.read(table.KUBE_PROXY)
        except NftError as error:
            raise Failure(f"nftables mode cannot run here: {error}") from error

    def compile(self, plan: Plan) -> Compiled[Key, Value]:
        return Compiled(self._compiler.compile(plan))

    @asynccontextmanager
    async def watch(self, on_foreign: Callable[[], None]) -> AsyncIterator[None]:
        """Follow the kernel's events; those of our own transactions are known by their netlink port."""
        monitor = Monitor(table.KUBE_PROXY, self._nft.ports if isinstance(self._nft, KernelNft) else (), on_foreign)
        loop = asyncio.get_running_loop()
        loop.add_reader(monitor.fileno(), monitor.drain)
        try:
            yield
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()

    async def is_intact(self) -> bool:
        """The kernel tells of every change, and of lost events too."""
        return True

    async def read(self) -> State:
        """What the kernel has. A table that is not of our shape counts as one thing, to be replaced in one step."""
        try:
            found = await self._nft.read(table.KUBE_PROXY)
        except NftError as error:
            raise Refused(f"cannot read table {table.KUBE_PROXY}: {error}") from error
        if not found:
            return found
        return found if is_compatible(found) else {TABLE: TableSpec("")}

    async def commit(self, changes: Changes[Key, Value]) -> Changes[Key, Value]:
        """Make the changes in one transaction; what must wait for the next one."""
        later = held_back(changes)
        now = {key: value for key, value in changes.remove.items() if key not in later}
        wanted = Changes(changes.put, now)
        try:
            try:
                await self._nft.commit(table.KUBE_PROXY, wanted)
            except NftError as error:
                if TOO_LONG not in str(error):
                    raise
                for piece in pieces(wanted):
                    await self._nft.commit(table.KUBE_PROXY, piece)
        except NftError as error:
            raise Refused(f"nftables refused {len(changes)} changes: {error}") from error
        return Changes(remove=later)


def make(settings: BackendSettings) -> Nftables:
    return Nftables(KernelNft(), settings.masquerade_bit, settings.family)


async def cleanup(family: Family) -> None:
    """Remove the table, when it is there."""
    if family is not Family.IPV4:
        return
    nft = KernelNft()
    try:
        if await nft.read(table.KUBE_PROXY):
            await nft.commit(table.KUBE_PROXY, Changes(remove={TABLE: table.TABLE_SPEC}))
    except NftError as error:
        if "install nftables" not in str(error):
            raise Refused(f"cannot remove table {table.KUBE_PROXY}: {error}") from error


def is_compatible(found: State) -> bool:
    """Whether the table can be changed into ours: sets cannot change their type in place."""
    if found.get(TABLE) != table.TABLE_SPEC:
        return False
    return all(found.get(set_key(name), spec) == spec for name, spec in table.SETS.items())


def pieces(changes: Changes[Key, Value]) -> Iterator[Changes[Key, Value]]:
    """The changes as several transactions, for a kernel that takes none so long (an ordinary user's socket is small).

    Slots come before the frontends that lead to them, so that each Service appears whole.
    """
    is_slot = {key: key.name in FRONTENDS_OF for key in (*changes.put, *changes.remove) if key.kind is Kind.ELEMENT}
    groups = (
        [key for key in {**changes.remove, **changes.put} if key not in is_slot and key in changes.put],
        [key for key, slot in is_slot.items() if slot],
        [key for key, slot in is_slot.items() if not slot],
        [key for key in changes.remove if key not in is_slot and key not in changes.put],
    )
    for number, group in enumerate(groups):
        size = PIECE if number in (1, 2) else max(len(group), 1)
        for start in range(0, len(group), size):
            keys = group[start : start + size]
            yield Changes(*({key: side[key] for key in keys if key in side} for side in (changes.put, changes.remove)))


def held_back(changes: Changes[Key, Value]) -> dict[Key, Value]:
    """The removals that must come one transaction later than these changes."""
    touched = {key for key in (*changes.put, *changes.remove) if key.kind is Kind.ELEMENT}
    gone = {key: value for key, value in changes.remove.items() if key not in changes.put}
    held = {key: value for key, value in gone.items() if _frontend_of(key) in touched}
    held |= _held_chains(changes.remove, gone)
    return held


def _frontend_of(key: Key) -> Key | None:
    """The verdict map's element that leads to a slot."""
    frontends = FRONTENDS_OF.get(key.name)
    return element_key(frontends, key.element.rpartition(" . ")[0]) if frontends else None


def _held_chains(removed: Mapping[Key, Value], gone: Mapping[Key, Value]) -> dict[Key, Value]:
    """Chains that an element names which changes now, then all that these chains name in turn."""
    held: dict[Key, Value] = {}
    names = [value.value.partition(" ")[2] for value in removed.values() if isinstance(value, Element)]
    while names:
        name = names.pop()
        for key in (chain_key(name), set_key(name)):
            value = gone.get(key)
            if value is None or key in held or (isinstance(value, SetSpec) and not value.is_dynamic):
                continue
            held[key] = value
            if isinstance(value, Chain):
                names += [word for found in value.rules for word in _WORD.findall(found.text)]
    return held
