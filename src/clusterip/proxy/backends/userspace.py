"""userspace mode: a relay process carries the bytes, iptables rules lead clients to it.

Stage: compile, read, commit.  In: Plan.  Out: listeners of the relay, kernel rules.
Rules: no policy: verdicts are the plan's.  A listener is opened before a rule leads to it and closed after the last one
is gone.  A listener that cannot be opened is left out with its rules, told, and tried again; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from clusterip.api.meta import ObjectKey
from clusterip.diff import Changes
from clusterip.failure import Failure
from clusterip.kernel import iptables
from clusterip.kernel.iptables import Iptables, IptablesError, KernelIptables
from clusterip.kernel.iptables_monitor import Monitor
from clusterip.kernel.iptables_probe import usable_variant
from clusterip.proxy.backends import BackendSettings, Compiled, Refused
from clusterip.proxy.backends.userspace_rules import CHAINS, Key, ListenerKey, Part, Value, compile_service, jumps, owns
from clusterip.proxy.model import Family, Node, Plan, Traits
from clusterip.proxy.relay.process import ProcessRelay, Relay, RelayError
from clusterip.proxy.relay.table import Listener, Place

TRAITS = Traits(guards_cluster_ips=False, hides_sender=True)
RULES = "rules"
Rules: TypeAlias = Changes[iptables.Key, iptables.Value]
_NAMED = re.compile(r"(--dport|--to-destination) @(\S+)")
_TRANSLATED = re.compile(r"-p (\w+) .*--to-destination (\S+)$")
_GUARDED = re.compile(r"-d (\S+)/\d+ -p udp -m udp --dport (\d+) (?=-m conntrack ! --ctstate DNAT )")
logger = logging.getLogger(__name__)


class Compiler:
    """Plans to parts: one of listeners a Service, one of all rules. What stays is the same object."""

    def __init__(self) -> None:
        self._node: Node | None = None
        self._revision = 0
        self._made: dict[ObjectKey, Part] = {}
        self._parts: dict[Hashable, Mapping[Key, Value]] = {}

    def compile(self, plan: Plan) -> Compiled[Key, Value]:
        changed = plan.changed_since(self._revision) if plan.node == self._node else None
        is_new = changed is None
        if changed is None:
            self._made, self._parts = {}, {}
            changed = frozenset(plan.services)
        self._node, self._revision = plan.node, plan.revision
        self._parts = dict(self._parts)  # the parts of the last compile are the runner's
        differ = [self._remake(key, plan) for key in changed]
        if is_new or any(differ):
            self._parts[RULES] = jumps(plan.node) | self._rules()
        return Compiled(self._parts, None if is_new else changed | {RULES})

    def _remake(self, key: ObjectKey, plan: Plan) -> bool:
        """One Service anew; whether its lines differ."""
        before, service = self._made.pop(key, None), plan.services.get(key)
        self._parts.pop(key, None)
        if service is None:
            return before is not None
        part = self._made[key] = compile_service(service, plan.node)
        self._parts[key] = part.listeners
        return before is None or before.lines != part.lines

    def _rules(self) -> dict[Key, Value]:
        """The chains, with the lines of each Service in the order of their names."""
        parts = [part.lines for _, part in sorted(self._made.items())]
        return {chain: tuple(line for lines in parts for line in lines.get(chain, ())) for chain in CHAINS}


@dataclass(frozen=True, slots=True)
class _Opened:
    """Where a listener of a protocol is."""

    protocol: str
    place: Place


class Userspace:
    """The backend. See backends.Backend."""

    mode = "userspace"
    traits = TRAITS

    def __init__(self, family: Family, tables: Iptables, relay: Relay) -> None:
        self.family = family
        self._tables, self._relay = tables, relay
        self._compiler = Compiler()
        self._opened: dict[str, _Opened] = {}
        self._failed: Mapping[str, str] = {}
        self._relays = asyncio.Event()
        self._jumps: Mapping[Key, Value] = {}

    async def prepare(self) -> None:
        """Find out which iptables is in use, and whether it works."""
        if not isinstance(self._tables, KernelIptables):
            return
        try:
            self._tables.variant = await usable_variant(self._tables.family)
        except IptablesError as error:
            raise Failure(f"userspace mode cannot run here: {error}") from error

    def compile(self, plan: Plan) -> Compiled[Key, Value]:
        self._jumps = jumps(plan.node)
        return self._compiler.compile(plan)

    async def read(self) -> Mapping[Key, Value]:
        """The relay's listeners (none, when it has ended), and the chains with listeners named in them."""
        try:
            listeners, rules = await asyncio.gather(self._relay.read(), self._tables.read(owns))
        except (RelayError, IptablesError) as error:
            raise Refused(f"cannot read what mode userspace left: {error}") from error
        state: dict[Key, Value] = {ListenerKey(name): listener for name, listener in listeners.items()}
        return state | _named(rules, self._opened)

    async def commit(self, changes: Changes[Key, Value]) -> Changes[Key, Value]:
        """Open listeners, then write rules, then close listeners."""
        put = {
            key.name: value
            for key, value in changes.put.items()
            if isinstance(key, ListenerKey) and isinstance(value, Listener)
        }
        gone = [key.name for key in changes.remove if isinstance(key, ListenerKey) and key not in changes.put]
        before = dict(self._opened)
        try:
            moved = bool(put) and await self._open(put)
            rules = _rules_of(changes, before, self._opened)
            await self._tables.commit(await self._with_moved(rules, before) if moved else rules)
            if gone:
                await self._relay.remove(gone)
        except (RelayError, IptablesError) as error:
            raise Refused(f"userspace mode refused {len(changes)} changes: {error}") from error
        for name in gone:
            self._opened.pop(name, None)
        return Changes()

    async def _open(self, listeners: Mapping[str, Listener]) -> bool:
        """Whether one of them listens elsewhere than before."""
        self._failed = await self._relay.put(listeners)
        self._relays.set()
        moved = False
        for name, listener in listeners.items():
            known = self._opened.pop(name, None)
            if name in self._failed:
                values = {"listener": name, "err": self._failed[name]}
                logger.error("The relay cannot listen for a Service's port, going on without it", extra={"kv": values})
                continue
            opened = _Opened(listener.protocol, Place(listener.address, self._relay.ports[name]))
            self._opened[name] = opened
            moved |= known not in (None, opened)
        return moved

    async def _with_moved(self, rules: Rules, before: Mapping[str, _Opened]) -> Rules:
        """The changes, and those of other chains that lead to ports of before."""
        put, remove = dict(rules.put), dict(rules.remove)
        found = await self._tables.read(owns)
        for key, lines in _named(found, before).items():
            if isinstance(lines, tuple) and key not in put and (now := _with_ports(lines, self._opened)) != found[key]:
                put[key], remove[key] = now, found[key]
        return Changes(put, remove)

    @asynccontextmanager
    async def watch(self, on_foreign: Callable[[], None]) -> AsyncIterator[None]:
        """The end of the relay is told, and changes of rules if the kernel tells them. At the end it is let go."""
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._follow(on_foreign), name="relay")
            try:
                with self._rules_watched(on_foreign):
                    yield
            finally:
                following.cancel()
                await self._relay.close()

    @contextmanager
    def _rules_watched(self, on_foreign: Callable[[], None]) -> Iterator[None]:
        """The nft variant tells by events; for the legacy one `is_intact` has to do."""
        tables = self._tables
        if not isinstance(tables, KernelIptables) or tables.variant == iptables.LEGACY:
            yield
            return
        monitor = Monitor(self.family.value, tables.ports, lambda: tables.running > 0, on_foreign)
        loop = asyncio.get_running_loop()
        loop.add_reader(monitor.fileno(), monitor.drain)
        try:
            yield
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()

    async def _follow(self, on_foreign: Callable[[], None]) -> None:
        while True:
            await self._relays.wait()
            self._relays.clear()
            await self._relay.ended()
            logger.error("The relay has ended and its connections with it; starting another")
            on_foreign()

    async def is_intact(self) -> bool:
        """Whether the relay runs, all its listeners could be opened, and the jumps are where they were put."""
        if self._failed or self._relay.is_lost():
            return False
        try:
            return not await self._tables.missing(key for key in self._jumps if not isinstance(key, ListenerKey))
        except IptablesError as error:
            raise Refused(f"cannot look at the tables: {error}") from error

    async def close(self) -> None:
        """Let go of the relay."""
        await self._relay.close()


def _named(rules: iptables.State, opened: Mapping[str, _Opened]) -> dict[iptables.Key, iptables.Value]:
    """The kernel's rules with listeners for their ports."""
    names = {(at.protocol, str(at.place)): name for name, at in opened.items()}
    return {
        key: tuple(_with_name(line, names) for line in value) if isinstance(value, tuple) else value
        for key, value in rules.items()
    }


def _with_name(line: str, names: Mapping[tuple[str, str], str]) -> str:
    """A line of the kernel with the listener's name for its port, where that is known."""
    if found := _TRANSLATED.search(line):
        name = names.get((found[1], found[2]))
        return f"{line[: found.start(2)]}@{name}" if name else line
    if found := _GUARDED.match(line):
        name = names.get(("udp", str(Place(found[1], int(found[2])))))
        return f"{line[: found.start(2)]}@{name}{line[found.end(2) :]}" if name else line
    return line


def _with_ports(lines: tuple[str, ...], opened: Mapping[str, _Opened]) -> tuple[str, ...]:
    """Lines for the kernel; those that lead to a listener that is not there are left out."""

    def place(found: re.Match[str]) -> str:
        at = opened[found[2]].place
        return f"{found[1]} {at.port if found[1] == '--dport' else at}"

    return tuple(
        _NAMED.sub(place, line) for line in lines if (found := _NAMED.search(line)) is None or found[2] in opened
    )


def _rules_of(changes: Changes[Key, Value], before: Mapping[str, _Opened], now: Mapping[str, _Opened]) -> Rules:
    """The changes of the kernel's rules: what goes with the ports of before, what comes with those of now."""
    put: dict[iptables.Key, iptables.Value] = {}
    remove: dict[iptables.Key, iptables.Value] = {}
    for source, target, opened in ((changes.put, put, now), (changes.remove, remove, before)):
        for key, value in source.items():
            if not isinstance(key, ListenerKey) and not isinstance(value, Listener):
                target[key] = _with_ports(value, opened) if isinstance(value, tuple) else value
    return Changes(put, remove)


def make(settings: BackendSettings) -> Userspace:
    return Userspace(settings.family, KernelIptables(settings.family.value), ProcessRelay())


async def cleanup(family: Family) -> None:
    """Remove the chains and the ways into them, from both variants; a relay to which nothing leads ends by itself."""
    for variant in (iptables.NFT, iptables.LEGACY):
        tables = KernelIptables(family.value, variant)
        with suppress(IptablesError):
            if found := await tables.read(owns):
                await tables.commit(Changes(remove=found))
