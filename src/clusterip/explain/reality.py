"""Hold a route against a node's kernel: the lines that serve it, what differs from the plan, what throws it away.

Stage: decide (`compare`) and read (`look`).  In: a Route, listings.  Out: further Steps.
Rules: `compare` is pure.  The tables of kube-proxy and of the policy agent are judged by the plan; every other rule
that could stop the packet is named with its line.
Truth: proxy/backends for what the tables hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

from clusterip.cluster.probing import flows_in
from clusterip.explain.finding import listed
from clusterip.explain.route import Mark, Route, Step
from clusterip.explain.rules import Line, Stop, elements, iptables_lines, iptables_stops, nft_stops, targets
from clusterip.explain.visit import Visit
from clusterip.kernel.listing import ListingError, listing
from clusterip.proxy.model import Forward, FrontendKind, Rule
from clusterip.proxy.verdict import Packet

TABLE = "ip kube-proxy"
OWN = (TABLE, "ip6 kube-proxy", "ip clusterip-policy", "ip6 clusterip-policy")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a node's kernel has."""

    node: str
    mode: str
    tables: tuple[str, ...] = ()
    proxy_table: str = ""  # text
    others: str = ""  # text of all other tables
    iptables: str = ""
    flows: tuple[str, ...] = ()
    trouble: str = ""


async def look(visit: Visit, node: str, route: Route) -> Seen:
    """List a node's rules, and the connections that go to the same frontend."""
    mode, pid = visit.config.proxy_mode, visit.anchors[node]
    seen = Seen(node, mode)
    try:
        names = [line.removeprefix("table ") for line in (await listing(pid, "nft", "list", "tables")).splitlines()]
        seen = replace(seen, tables=tuple(names))
        if TABLE in names:
            seen = replace(seen, proxy_table=await listing(pid, "nft", "list", "table", *TABLE.split()))
        others = [await listing(pid, "nft", "list", "table", *name.split()) for name in names if name not in OWN]
        seen = replace(seen, others="\n".join(others))
        if mode == "iptables":
            seen = replace(seen, iptables=await listing(pid, "iptables-save", "-c"))
    except ListingError as error:
        seen = replace(seen, trouble=str(error))
    return replace(seen, flows=await asyncio.to_thread(_flows, visit.nets[node], route.packet))


def _flows(fd: int, packet: Packet | None) -> tuple[str, ...]:
    if packet is None:
        return ()
    try:
        tracked = flows_in(fd)
    except OSError:  # a kernel that does not list them; nothing else depends on it
        return ()
    found = [
        flow
        for flow in tracked
        if flow.original.destination == packet.destination and flow.original.port == packet.port
    ]
    return tuple(
        f"{flow.original.source}:{flow.original.source_port} -> {flow.reply.source}:{flow.reply.source_port}"
        for flow in found
    )


def compare(route: Route, seen: Seen) -> Iterator[Step]:
    """What the kernel says to a route."""
    hop = f"kernel of {seen.node}"
    if seen.trouble:
        yield Step(hop, Mark.TOLD, f"cannot be looked at: {seen.trouble}")
        return
    if route.packet is None:
        return
    if seen.mode == "nftables":
        yield from _nftables(hop, route, route.packet, seen)
    elif seen.mode == "iptables":
        yield _iptables(hop, route, seen)
    else:
        yield Step(hop, Mark.TOLD, f"mode {seen.mode}: only rules that stop the packet are looked for")
    yield from _stops(hop, route, route.packet, seen)
    if seen.flows:
        yield Step(hop, Mark.TOLD, f"{len(seen.flows)} connections to it are tracked", (listed(seen.flows, 3),))


def _nftables(hop: str, route: Route, packet: Packet, seen: Seen) -> Iterator[Step]:
    if TABLE not in seen.tables:
        tables = (f"tables: {listed(seen.tables, 6) or 'none'}",)
        yield Step(hop, Mark.FAILS, f"reality differs: table {TABLE} is not there", tables)
    elif route.rule is not None:
        key = _key(route.rule, packet)
        lines = list(elements(seen.proxy_table, key))
        shown = tuple(map(str, lines[:6]))
        trouble = (
            _difference(route, route.rule, targets(lines)) if lines else f"no element of table {TABLE} serves {key}"
        )
        text = f"reality differs: {trouble}" if trouble else "has what the plan says"
        yield Step(hop, Mark.FAILS if trouble else Mark.PASSES, text, shown)


def _difference(route: Route, rule: Rule, found: frozenset[str]) -> str:
    """How the endpoints of the Service's elements differ from the plan; affinity has chains of its own for them."""
    if rule.affinity_seconds and not found:
        return ""
    planned = {f"{each.address}:{each.port}" for each in route.ways}
    outcomes = [each for each in (rule.from_pods, rule.from_others) if isinstance(each, Forward)]
    whole = {str(target) for each in outcomes for target in each.targets}
    if planned <= found and (found <= whole or rule.affinity_seconds):
        return ""
    return f"the kernel has {listed(sorted(found)) or 'no endpoints'}, the plan {listed(sorted(planned))}"


def _key(rule: Rule | None, packet: Packet) -> str:
    """As nft writes the key of an element."""
    if rule is not None and rule.kind is FrontendKind.NODE_PORT:
        return f"{packet.protocol} . {packet.port} "
    return f"{packet.destination} . {packet.protocol} . {packet.port} "


def _iptables(hop: str, route: Route, seen: Seen) -> Step:
    name = str(route.rule.name) if route.rule else str(route.service)
    lines = list(iptables_lines(seen.iptables, name))
    if not lines:
        return Step(hop, Mark.FAILS, f"reality differs: no rule of iptables names {name}")
    ways = [f"{way.address}:{way.port}" for way in route.ways]
    missing = [way for way in ways if not any(f"--to-destination {way}" in line.text for line in lines)]
    shown = tuple(str(line) for line in lines[:6])
    if missing:
        return Step(hop, Mark.FAILS, f"reality differs: no rule leads to {listed(missing)}", shown)
    return Step(hop, Mark.PASSES, "has what the plan says", shown)


def _stops(hop: str, route: Route, packet: Packet, seen: Seen) -> Iterator[Step]:
    """Rules of others, for the packet before and after translation."""
    after = (replace(packet, destination=way.address, port=way.port) for way in route.ways)
    packets = (packet, *after)
    found: list[Stop] = [*nft_stops(seen.others, packets), *iptables_stops(seen.iptables, packets)]
    for stop in found:
        if stop.is_sure:
            yield Step(hop, Mark.FAILS, "another rule throws the packet away", (_told(stop.line),))
    unsure = [_told(stop.line) for stop in found if not stop.is_sure]
    if unsure:
        yield Step(hop, Mark.TOLD, "rules of others that may throw it away", tuple(unsure[:4]))


def _told(line: Line) -> str:
    return f"{line.where}: {line.text}"
