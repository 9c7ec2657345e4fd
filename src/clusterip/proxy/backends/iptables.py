"""iptables mode: compile a plan to kube-proxy's chains, read them back, commit what changed.

Stage: compile, read, commit.  In: Plan.  Out: kernel state.
Rules: no policy: verdicts are the plan's.  What is compiled is kept per Service, by identity of its plan.  Everything
with one of our names is ours, whoever made it: an older version's or another proxy's leavings go with the first sync.
Truth: kubernetes/kubernetes pkg/proxy/iptables (1.36): the rules are the same for the same objects; README.md says
where the way there differs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from clusterip.api.meta import ObjectKey
from clusterip.diff import Changes
from clusterip.failure import Failure
from clusterip.kernel import iptables as kernel
from clusterip.kernel import iptables_counters, sysctl
from clusterip.kernel.iptables import ChainKey, IptablesError, KernelIptables, Value
from clusterip.kernel.iptables_monitor import Monitor
from clusterip.kernel.iptables_probe import usable_variant
from clusterip.proxy.backends import BackendSettings, Compiled, Refused
from clusterip.proxy.backends.iptables_chains import (
    ALSO_OF_IPVS,
    CANARIES,
    FILTER,
    FIREWALL,
    INVALID_COUNTER,
    JUMPS,
    LOCALHOST_COUNTER,
    MANGLE,
    OF_IPVS,
    OUR_NAMES,
    OURS_ALONE,
    Options,
    fixed_part,
    is_ours,
    leads_to,
)
from clusterip.proxy.backends.iptables_service import compile_service
from clusterip.proxy.backends.iptables_shared import NOTHING, AnyKey, in_stages, taken_apart
from clusterip.proxy.backends.iptables_tally import Tally
from clusterip.proxy.model import Family, Node, Plan, ServicePlan, Traits

logger = logging.getLogger(__name__)

FIXED = "fixed"
LOOPBACK_GUARD = ChainKey(FILTER, FIREWALL)
KUBELET = frozenset({ChainKey(MANGLE, "KUBE-IPTABLES-HINT"), ChainKey(MANGLE, "KUBE-KUBELET-CANARY")})
LARGE_CLUSTER_ENDPOINTS = 1000  # beyond, comments that only repeat a Service's name are left out, as upstream does
ROUTE_LOCALNET = "net.ipv4.conf.all.route_localnet"
BE_LIBERAL = "net.netfilter.nf_conntrack_tcp_be_liberal"
RANDOM_FULLY_SINCE = (1, 6, 2)
TRAITS = Traits(
    guards_cluster_ips=False,
    ranges_come_first=False,
    refuses_from_node=False,
    refuses_on_all_addresses=True,
    hides_remote_hairpins=True,
)


class Compiler:
    """Plans to parts: one a Service and a fixed one. Unchanged parts are the same objects.

    A cluster that grows large, or small again, changes the comments of Services as they change, not of all at once.
    """

    def __init__(self) -> None:
        self._of: tuple[Node, Options] | None = None
        self._revision = 0
        self._made: dict[ObjectKey, ServicePlan] = {}
        self._parts: dict[Hashable, Mapping[AnyKey, Value]] = {}
        self._endpoints = 0
        self._was_large = False

    def compile(self, plan: Plan, options: Options) -> Compiled[AnyKey, Value]:
        changed = plan.changed_since(self._revision)
        if self._of != (plan.node, options):
            self._of, changed = (plan.node, options), None
            self._made, self._endpoints = {}, 0
            self._parts = {FIXED: fixed_part(plan.node, options)}
        keys = plan.services.keys() | self._made.keys() if changed is None else changed
        fresh = {key for key in keys if plan.services.get(key) is not self._made.get(key)}
        self._count(plan, fresh)
        is_large = self._endpoints > LARGE_CLUSTER_ENDPOINTS
        if changed is None and is_large is not self._was_large:
            fresh |= self._made.keys()
        self._was_large = is_large
        parts = dict(self._parts)
        for key in sorted(fresh):  # chains that are made in the order in which they are tried lie side by side
            if service := plan.services.get(key):
                parts[key] = compile_service(service, plan.node, options, brief=is_large)
            else:
                del parts[key]
        self._parts, self._revision = parts, plan.revision
        return Compiled(parts, None if changed is None else frozenset(fresh))

    def _count(self, plan: Plan, fresh: set[ObjectKey]) -> None:
        for key in fresh:
            if before := self._made.pop(key, None):
                self._endpoints -= before.endpoints
            if service := plan.services.get(key):
                self._made[key] = service
                self._endpoints += service.endpoints


class Iptables:
    """The backend. See backends.Backend."""

    mode = "iptables"
    traits = TRAITS

    def __init__(self, family: Family, options: Options, iptables: kernel.Iptables, *, localhost: bool = False) -> None:
        self.family, self.options = family, options
        self._iptables, self._localhost = iptables, localhost
        self._compiler = Compiler()
        self._held = NOTHING
        self.tally = Tally()

    async def prepare(self) -> None:
        """Find out which iptables is in use, and what it can do."""
        if isinstance(self._iptables, KernelIptables):
            version = await _found(self._iptables)
            self.options = replace(
                self.options,
                random_fully=version >= RANDOM_FULLY_SINCE,
                drops_invalid=self.options.drops_invalid and not _is_liberal(),
                counters=_counters(),
            )
            values = {"variant": self._iptables.variant, "version": ".".join(map(str, version))}
            logger.info("Using iptables", extra={"kv": values})
        if self._localhost:
            _route_localnet()

    def compile(self, plan: Plan) -> Compiled[AnyKey, Value]:
        self._localhost = plan.node.localhost_node_ports
        return self._compiler.compile(plan, self.options)

    async def read(self) -> Mapping[AnyKey, Value]:
        try:
            state = await self._iptables.read(is_ours)
        except IptablesError as error:
            raise Refused(f"cannot read the tables: {error}") from error
        self.tally.was_read(state)
        values, self._held = taken_apart(state)
        if not self._localhost and LOOPBACK_GUARD in values:
            values[LOOPBACK_GUARD] = ()  # what is in there is a kubelet's, and stays
        return values

    async def commit(self, changes: Changes[AnyKey, Value]) -> Changes[AnyKey, Value]:
        """Nothing is due later: a table changes at once, and chains that go are led to by nothing any more."""
        stages, held = in_stages(self._held, changes)
        try:
            await self._iptables.commit(*stages)
        except IptablesError as error:
            self.tally.was_refused()
            raise Refused(f"iptables refused {len(changes)} changes: {error}") from error
        self._held = held
        self.tally.was_made(stages)
        return Changes()

    async def is_intact(self) -> bool:
        """Whether the canaries live and the jumps are in place: `iptables -F` and reloads of firewalls take them."""
        try:
            return not await self._iptables.missing((*CANARIES, *JUMPS))
        except IptablesError as error:
            raise Refused(f"cannot look at the tables: {error}") from error

    @asynccontextmanager
    async def watch(self, on_foreign: Callable[[], None]) -> AsyncIterator[None]:
        """The nft variant tells by events; the legacy one tells nothing, there `is_intact` has to do."""
        iptables = self._iptables
        if not isinstance(iptables, KernelIptables) or iptables.variant == kernel.LEGACY:
            yield
            return
        monitor = Monitor(self.family.value, iptables.ports, lambda: iptables.running > 0, on_foreign, OUR_NAMES)
        loop = asyncio.get_running_loop()
        loop.add_reader(monitor.fileno(), monitor.drain)
        try:
            yield
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()


async def _found(iptables: KernelIptables) -> tuple[int, ...]:
    """Settle on a variant that works here; its version, as in `iptables v1.8.9 (nf_tables)`."""
    try:
        iptables.variant = await usable_variant(iptables.family)
        text = await iptables.ask("--version")
    except IptablesError as error:
        raise Failure(f"iptables mode cannot run here: {error}") from error
    numbers = text.partition(" v")[2].partition(" ")[0].split(".")
    return tuple(int(number) for number in numbers if number.isdigit())


def _is_liberal() -> bool:
    """Whether connection tracking takes packets out of window as valid: then none needs to be dropped."""
    with suppress(OSError, ValueError):
        return int(sysctl.read(BE_LIBERAL)) != 0
    return False


def _counters() -> frozenset[str]:
    """The packet counters that this kernel has for us."""
    found = set()
    for name in (INVALID_COUNTER, LOCALHOST_COUNTER):
        try:
            iptables_counters.ensure(name)
            found.add(name)
        except OSError as error:
            logger.info("Going on without a packet counter", extra={"kv": {"counter": name, "err": error}})
    return frozenset(found)


def _route_localnet() -> None:
    """Without it the kernel drops what was sent to 127.0.0.1 and translated to a pod."""
    try:
        sysctl.write(ROUTE_LOCALNET, "1")
    except OSError as error:
        why = f"{ROUTE_LOCALNET} cannot be set to 1 ({error.strerror})"
        raise Failure(f"{why}: set iptables.localhostNodePorts to false, or run as root") from error


def make(settings: BackendSettings) -> Iptables:
    """The mode as configured."""
    from clusterip.proxy.resolve import localhost_node_ports

    config = settings.config
    options = Options(mark=1 << settings.masquerade_bit, drops_invalid=not config.conntrack.tcp_be_liberal)
    localhost = localhost_node_ports(config, settings.family)
    return Iptables(settings.family, options, KernelIptables(settings.family.value), localhost=localhost)


async def cleanup(family: Family) -> None:
    """Remove everything of ours in both variants. Where no chain is this mode's alone, there is nothing of it."""
    for variant in (kernel.NFT, kernel.LEGACY):
        iptables = KernelIptables(family.value, variant)
        with suppress(IptablesError):
            await _clean(iptables)
    for name in (INVALID_COUNTER, LOCALHOST_COUNTER):
        with suppress(OSError):
            iptables_counters.remove(name)


async def _clean(iptables: kernel.Iptables) -> None:
    """A kubelet that runs here keeps its chain, which has one name with ours; ipvs mode keeps what it has as well."""
    others = KUBELET | {OF_IPVS}
    found = await iptables.read(lambda table, chain: is_ours(table, chain) or (table, chain) in others)
    if not OURS_ALONE & found.keys():
        return
    kept = others | ({LOOPBACK_GUARD} if KUBELET & found.keys() else set())
    if OF_IPVS in found:
        kept |= ALSO_OF_IPVS
    gone = {key: value for key, value in found.items() if leads_to(key) not in kept}
    await iptables.commit(Changes(remove=gone))
