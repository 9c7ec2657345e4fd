"""ipvs mode: virtual servers, ip sets and a few chains that ask them, addresses on kube-ipvs0.

Stage: prepare, compile, read, commit.  In: Plan.  Out: kernel state.
Rules: no policy: verdicts are the plan's.  Order of a commit: set entries, chains, servers, addresses, then the entries
that go: a Service is whole before its address is the node's, and its address goes before what marks its traffic.  After
iptables mode the chains come last: until all else stands they translate.
Nothing of this is one transaction: after a refusal the runner reads and goes on from what it finds.
Truth: kube-proxy 1.36, pkg/proxy/ipvs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from ipaddress import ip_address

from clusterip.api.meta import ObjectKey
from clusterip.diff import Changes
from clusterip.failure import Failure
from clusterip.kernel import ipvs
from clusterip.kernel.dummy import Dummy, DummyEvents, KernelDummy
from clusterip.kernel.ipset import EntryKey, Ipset, IpsetError, KernelIpset, SetKey
from clusterip.kernel.iptables import LEGACY, NFT, Iptables, IptablesError, KernelIptables
from clusterip.kernel.iptables_probe import usable_variant
from clusterip.kernel.ipvs import Ipvs, IpvsError, KernelIpvs, RealKey
from clusterip.proxy.backends import BackendSettings, Compiled, Refused
from clusterip.proxy.backends import ipvs_prepare as prepare
from clusterip.proxy.backends import ipvs_tables as tables
from clusterip.proxy.backends.iptables_chains import ALSO_OF_IPVS, OF_IPVS, OURS_ALONE, leads_to
from clusterip.proxy.backends.ipvs_compile import Compiler
from clusterip.proxy.backends.ipvs_prepare import Settings
from clusterip.proxy.backends.ipvs_servers import Servers
from clusterip.proxy.backends.ipvs_state import BOUND, AddressKey, Key, Kinds, State, Value, without
from clusterip.proxy.model import Family, Plan, Traits

logger = logging.getLogger(__name__)

TRAITS = Traits(
    guards_cluster_ips=False,
    drops_without_local=False,
    binds_addresses=True,
    short_circuits=False,
    balancers_admit_each_other=False,
)
MANY = 500  # changes from which on the loop is not kept waiting


class IpvsMode:
    """The backend. See proxy.backends.Backend."""

    mode = "ipvs"
    traits = TRAITS

    def __init__(
        self,
        settings: Settings,
        mark: int,
        *,
        servers: Ipvs | None = None,
        sets: Ipset | None = None,
        chains: Iptables | None = None,
        dummy: Dummy | None = None,
    ) -> None:
        self.family = settings.family
        self._settings = settings
        self._ipvs: Ipvs = servers or KernelIpvs()
        self._sets: Ipset = sets or KernelIpset()
        self._chains: Iptables = chains or KernelIptables(settings.family)
        self._dummy: Dummy = dummy or KernelDummy(tables.DEVICE)
        self._compiler = Compiler(mark, settings.scheduler)
        self._servers = Servers(self._ipvs, settings.scheduler)
        self._told: set[tuple[str, str]] = set()
        self._kept = Kinds()

    def close(self) -> None:
        """Let the kernel's sockets go; what is in the kernel stays."""
        for door in (self._ipvs, self._sets, self._dummy):
            if isinstance(door, (KernelIpvs, KernelIpset, KernelDummy)):
                door.close()

    # -- before anything -----------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        await prepare.require(self._settings, self._ipvs, self._sets)
        if isinstance(self._chains, KernelIptables):
            try:
                self._chains.variant = await usable_variant(self.family)
            except IptablesError as error:
                raise Failure(f"mode ipvs cannot run here: {error}") from error
        try:
            self._dummy.ensure()
        except OSError as error:
            raise Failure(
                f"mode ipvs cannot run here: no device {tables.DEVICE} ({error}); load its module with: modprobe dummy"
            ) from error
        prepare.configure(self._settings, self._ipvs)

    # -- what should be there ------------------------------------------------------------------------------------------

    def compile(self, plan: Plan) -> Compiled[Key, Value]:
        compiled = self._compiler.compile(plan)
        for port, scheduler in self._compiler.unknown - self._told:
            values = {"servicePort": port, "scheduler": scheduler, "used": self._settings.scheduler}
            logger.warning("No such scheduler, using the configured one", extra={"kv": values})
        self._told = set(self._compiler.unknown)
        return compiled

    @property
    def unknown_schedulers(self) -> Iterator[tuple[ObjectKey, str, str]]:
        """The Services that want one that does not exist, and what they get instead."""
        for port, scheduler in self._compiler.unknown:
            namespace, _, name = port.partition(":")[0].partition("/")
            yield ObjectKey(namespace, name), scheduler, self._settings.scheduler

    # -- what is there -------------------------------------------------------------------------------------------------

    async def read(self) -> State:
        """All of it. Virtual servers of others count as ours to remove, but for those in excluded networks."""
        try:
            chains = await self._chains.read(tables.owns)
            found = await asyncio.to_thread(self._read_kernel)
        except (OSError, IptablesError) as error:
            raise Refused(f"cannot read what is there: {error}") from error
        found.chains.update(chains)
        self._kept = found
        return found.flat()

    def _read_kernel(self) -> Kinds:
        sets = self._sets.read(tables.set_names(self.family))
        addresses = {AddressKey(text): BOUND for text in self._dummy.read(self.family) or ()}
        return Kinds(sets=dict(sets), servers=self._read_servers(), addresses=addresses)

    def _read_servers(self) -> dict[ipvs.Key, ipvs.Value]:
        found = self._servers.hidden(self._ipvs.read(self.family))
        return {key: value for key, value in found.items() if not self._is_excluded(key)}

    def _is_excluded(self, key: ipvs.Key) -> bool:
        if not self._settings.excluded:
            return False
        virtual = key.virtual if isinstance(key, RealKey) else key
        return any(ip_address(virtual.address) in network for network in self._settings.excluded)

    # -- making it so --------------------------------------------------------------------------------------------------

    async def commit(self, changes: Changes[Key, Value]) -> Changes[Key, Value]:
        """Make the changes step by step; Refused tells what the kernel did not take, after all else was made."""
        put, gone = Kinds.of(changes.put), Kinds.of(changes.remove)
        far, trouble = len(changes) > MANY, list[str]()
        await _step(lambda: self._sets.commit(Changes(put.sets)), far, trouble)
        takes_over = tables.is_translating(gone.chains)
        if not takes_over:
            await self._commit_chains(put, gone, trouble)
        await _step(lambda: self._servers.commit(Changes(put.servers, gone.servers)), far, trouble)
        await _step(lambda: self._commit_addresses(put, gone), far, trouble)
        if takes_over:
            await self._commit_chains(put, gone, trouble)
        await _step(lambda: self._sets.commit(Changes(remove=without(gone.sets, put.sets))), far, trouble)
        self._kept.patch(put, gone)
        if trouble:
            raise Refused("; ".join(trouble))
        return Changes()

    async def _commit_chains(self, put: Kinds, gone: Kinds, trouble: list[str]) -> None:
        try:
            await self._chains.commit(Changes(put.chains, gone.chains))
        except IptablesError as error:
            trouble.append(f"iptables: {error}")

    def _commit_addresses(self, put: Kinds, gone: Kinds) -> None:
        add = [key.address for key in put.addresses]
        remove = [key.address for key in without(gone.addresses, put.addresses)]
        if add:
            self._dummy.ensure()
        if add or remove:
            self._dummy.change(add, remove)

    # -- whether it still is -------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def watch(self, on_foreign: Callable[[], None]) -> AsyncIterator[None]:
        """The kernel tells of addresses and devices that go; of servers and sets it tells nothing, see is_intact."""
        if not isinstance(self._dummy, KernelDummy):
            yield
            return
        events = DummyEvents(self._dummy, self.family, on_foreign)
        loop = asyncio.get_running_loop()
        loop.add_reader(events.fileno(), events.drain)
        try:
            yield
        finally:
            loop.remove_reader(events.fileno())
            events.close()

    async def is_intact(self) -> bool:
        """Whether all is as it was left; servers that have lost their last connection go on the way."""
        try:
            chains = await self._chains.read(tables.owns)
            return dict(chains) == self._kept.chains and await asyncio.to_thread(self._is_kernel_intact)
        except (OSError, IptablesError, IpvsError) as error:
            logger.warning("Cannot look at what is there", extra={"kv": {"err": error}})
            return False

    def _is_kernel_intact(self) -> bool:
        self._servers.sweep()
        kept = self._kept
        entries = Counter(key.set for key in kept.sets if isinstance(key, EntryKey))
        sizes = {key.name: entries[key.name] for key in kept.sets if isinstance(key, SetKey)}
        wanted = {key: value for key, value in self._servers.known(kept.servers).items() if not self._is_excluded(key)}
        return (
            self._sets.sizes(tables.set_names(self.family)) == sizes
            and (self._dummy.read(self.family) or set()) == {key.address for key in kept.addresses}
            and self._read_servers() == wanted
        )


async def _step(act: Callable[[], None], far: bool, trouble: list[str]) -> None:
    """One step of a commit; its refusals are collected."""
    try:
        if far:
            await asyncio.to_thread(act)
        else:
            act()
    except IpsetError as error:
        trouble.append(f"ip sets: {error}")
    except IpvsError as error:
        trouble.append(f"IPVS: {error}")
    except OSError as error:
        trouble.append(str(error))


def make(settings: BackendSettings) -> IpvsMode:
    """The backend of a configuration."""
    return IpvsMode(Settings.of(settings.config.ipvs, settings.family), 1 << settings.masquerade_bit)


async def cleanup(family: Family) -> None:
    """Remove all of this mode in a family; virtual servers only where the device shows that they are ours."""
    for variant in (NFT, LEGACY):
        await _remove_chains(KernelIptables(family, variant))
    with closing(KernelDummy(tables.DEVICE)) as dummy, closing(KernelIpvs()) as servers:
        if dummy.index():
            _remove_servers(servers, family)
            dummy.change((), dummy.read(family) or ())
            if not any(dummy.read(other) for other in Family):
                dummy.delete()
    with closing(KernelIpset()) as sets:
        _remove_sets(sets, family)


async def _remove_chains(chains: KernelIptables) -> None:
    """Some names are iptables mode's too: without a chain that is this mode's alone there is nothing of it."""
    try:
        found = await chains.read(lambda table, chain: tables.owns(table, chain) or (table, chain) in OURS_ALONE)
        if OF_IPVS not in found:
            return
        kept = OURS_ALONE | (ALSO_OF_IPVS if OURS_ALONE & found.keys() else frozenset())
        await chains.commit(Changes(remove={key: value for key, value in found.items() if leads_to(key) not in kept}))
    except IptablesError as error:
        logger.debug("No chains to remove", extra={"kv": {"err": error}})


def _remove_servers(servers: KernelIpvs, family: Family) -> None:
    try:
        servers.commit(Changes(remove=dict(servers.virtual_servers(family).items())))
    except (OSError, IpvsError) as error:
        logger.error("Cannot remove virtual servers", extra={"kv": {"err": error}})


def _remove_sets(sets: KernelIpset, family: Family) -> None:
    try:
        sets.commit(Changes(remove=sets.read(tables.set_names(family))))
    except OSError:
        return  # this kernel has no sets
    except IpsetError as error:
        logger.error("Cannot remove ip sets", extra={"kv": {"err": error}})
