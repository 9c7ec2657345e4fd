"""nftables mode: compile a plan to the table `kube-proxy` of a family, read it back, commit changes.

Stage: compile, read, commit.  In: Plan.  Out: kernel state.
Rules: no policy: verdicts are the plan's.  The compiled parts are kept per Service, by identity of its plan, and only
those that the plan names as changed are looked at.  What must wait for the next transaction is returned as still due.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager
from zlib import crc32

from clusterip.api.meta import ObjectKey
from clusterip.diff import Changes
from clusterip.failure import Failure
from clusterip.kernel.nft import (
    TABLE,
    Element,
    Key,
    Kind,
    Nft,
    NftError,
    State,
    TableSpec,
    Value,
    chain_key,
    element_key,
    set_key,
)
from clusterip.kernel.nft_kernel import KernelNft
from clusterip.kernel.nft_monitor import Monitor
from clusterip.proxy.backends import BackendSettings, Compiled, Refused
from clusterip.proxy.backends import nftables_table as table
from clusterip.proxy.backends.nftables_order import LONG, in_order, is_long, pieces
from clusterip.proxy.backends.nftables_service import Part, compile_service
from clusterip.proxy.model import Family, Node, Plan, ServicePlan, Traits

DEFAULT_MASQUERADE_BIT = 14
FIXED = "fixed"
BUCKETS = 256  # parts of what Services share, so that one change looks at few of its keys
Parts = Mapping[Hashable, Mapping[Key, Value]]


class Compiler:
    """Plans to parts: one part a Service, some of what they share, one fixed. Unchanged parts are the same objects."""

    def __init__(self, mark: int) -> None:
        self._mark = mark
        self._node: Node | None = None
        self._revision = 0
        self._parts: dict[Hashable, Mapping[Key, Value]] = {}
        self._made: dict[ObjectKey, tuple[ServicePlan, Part]] = {}
        self._shared = _Shared()

    def compile(self, plan: Plan) -> Compiled[Key, Value]:
        known = plan.changed_since(self._revision) if plan.node == self._node else None
        if plan.node != self._node:
            self._node, self._made, self._shared = plan.node, {}, _Shared()
            self._parts = {FIXED: fixed_part(plan.node, self._mark)}
        self._revision = plan.revision
        keys = self._differing(plan) if known is None else known
        if not keys:
            return Compiled(self._parts, None if known is None else frozenset())
        self._parts = dict(self._parts)
        changed: set[Hashable] = set(keys)
        for key in keys:
            self._make(key, plan)
        for name, part in self._shared.renewed():
            self._parts[name] = part
            changed.add(name)
        return Compiled(self._parts, None if known is None else frozenset(changed))

    def sweep(self) -> None:
        """Let go of what nobody needs any more; the next state is compared with all that is there."""
        self._shared.sweep()
        self._parts = self._parts | dict(self._shared.renewed())

    def _differing(self, plan: Plan) -> list[ObjectKey]:
        """The Services that are another object than last time, or gone."""
        made = self._made
        found = [key for key in made if key not in plan.services]
        for key, service in plan.services.items():
            known = made.get(key)
            if known is None or known[0] is not service:
                found.append(key)
        return found

    def _make(self, key: ObjectKey, plan: Plan) -> None:
        known, service = self._made.pop(key, None), plan.services.get(key)
        if service is not None:
            part = compile_service(service, plan.node, self._mark)
            self._made[key] = (service, part)
            self._parts[key] = part.own
            self._shared.take(part.shared)
        else:
            self._parts.pop(key, None)
        if known is not None:
            self._shared.release(known[1].shared)


class _Shared:
    """Keys that several Services need, counted.

    Chains stay when nobody needs them, until the table is read again: a new one makes the kernel walk all endpoints.
    """

    def __init__(self) -> None:
        self._unused: set[Key] = set()
        self._counts: dict[Key, int] = {}
        self._buckets: dict[int, dict[Key, Value]] = {}
        self._stale: set[int] = set()

    def take(self, wanted: Mapping[Key, Value]) -> None:
        for key, value in wanted.items():
            count = self._counts.get(key, 0)
            self._counts[key] = count + 1
            if not count and key in self._unused:
                self._unused.remove(key)
            elif not count:
                bucket = _bucket(key)
                self._buckets.setdefault(bucket, {})[key] = value
                self._stale.add(bucket)

    def release(self, wanted: Iterable[Key]) -> None:
        for key in wanted:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
                if key.kind is Kind.CHAIN:
                    self._unused.add(key)
                else:
                    self._drop(key)

    def sweep(self) -> None:
        """Drop what is not needed."""
        while self._unused:
            self._drop(self._unused.pop())

    def _drop(self, key: Key) -> None:
        bucket = _bucket(key)
        del self._buckets[bucket][key]
        self._stale.add(bucket)

    def renewed(self) -> list[tuple[str, Mapping[Key, Value]]]:
        """The parts that changed since this was asked."""
        stale, self._stale = self._stale, set()
        return [(f"shared-{bucket}", dict(self._buckets[bucket])) for bucket in sorted(stale)]


def _bucket(key: Key) -> int:
    return crc32(key.element, crc32(key.name.encode())) % BUCKETS


def fixed_part(node: Node, mark: int) -> dict[Key, Value]:
    """The table, its sets and maps, the chains that do not depend on Services, and the addresses of node ports."""
    values: dict[Key, Value] = {TABLE: table.TABLE_SPEC}
    values |= {set_key(name): spec for name, spec in table.SETS.items()}
    values |= {chain_key(name): chain for name, chain in table.fixed_chains(node, mark).items()}
    for address in node.node_port_addresses or ():
        values[element_key(table.NODEPORT_IPS, address.packed)] = Element()
    return values


class Nftables:
    """The backend. See backends.Backend."""

    mode = "nftables"
    traits = Traits()

    def __init__(self, nft: Nft, masquerade_bit: int = DEFAULT_MASQUERADE_BIT, family: Family = Family.IPV4) -> None:
        self.family = family
        self._nft = nft
        self._table = table.kube_proxy(family)
        self._compiler = Compiler(1 << masquerade_bit)

    async def prepare(self) -> None:
        """Whether the kernel has nf_tables: the first read says what is wrong."""
        try:
            await self._nft.read(self._table)
        except NftError as error:
            raise Failure(f"nftables mode cannot run here: {error}") from error

    def close(self) -> None:
        """Let go of the kernel; the table stays."""
        if isinstance(self._nft, KernelNft):
            self._nft.close()

    def compile(self, plan: Plan) -> Compiled[Key, Value]:
        return self._compiler.compile(plan)

    @asynccontextmanager
    async def watch(self, on_foreign: Callable[[], None]) -> AsyncIterator[None]:
        """Follow the kernel's events; those of our own transactions are known by their netlink port."""
        monitor = Monitor(self._table, self._nft, on_foreign)
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
            found = await self._nft.read(self._table)
        except NftError as error:
            raise Refused(f"cannot read the rules: {error}") from error
        self._compiler.sweep()
        if not found:
            return found
        return found if is_compatible(found) else {TABLE: TableSpec("")}

    async def commit(self, changes: Changes[Key, Value]) -> Changes[Key, Value]:
        """Make the changes in one transaction; what must wait for the next one."""
        now, later = in_order(changes, self.family)
        try:
            await self._commit(now)
        except NftError as error:
            raise Refused(f"nftables refused {len(changes)} changes: {error}") from error
        return Changes(remove=later)

    async def _commit(self, changes: Changes[Key, Value]) -> None:
        """In one transaction, unless it is too long for the socket or for the kernel's hash tables."""
        try:
            if not is_long(changes, self.family):
                await self._nft.commit(self._table, changes)
                return
            for piece in pieces(changes, self.family, LONG):
                await self._nft.commit(self._table, piece)
        except NftError as error:
            if not error.too_long:
                raise
            for piece in pieces(changes, self.family):
                await self._nft.commit(self._table, piece)


def make(settings: BackendSettings) -> Nftables:
    return Nftables(KernelNft(), settings.masquerade_bit, settings.family)


async def cleanup(family: Family) -> None:
    """Remove the table, when it is there; silent where there is no nf_tables at all."""
    nft, name = KernelNft(), table.kube_proxy(family)
    try:
        found = await nft.read(name)
    except NftError:
        return
    try:
        if found:
            await nft.commit(name, Changes(remove={TABLE: table.TABLE_SPEC}))
    except NftError as error:
        raise Refused(f"cannot remove the rules: {error}") from error
    finally:
        nft.close()


def is_compatible(found: State) -> bool:
    """Whether the table can be changed into ours: sets cannot change their type in place."""
    if found.get(TABLE) != table.TABLE_SPEC:
        return False
    return all(found.get(set_key(name), spec) == spec for name, spec in table.SETS.items())
