"""The frontend: what every request goes through until its backend is known.

Stage: compile.  In: a plan, the names of its backends.  Out: lines, maps, and whose each line is.
Rules: pure; a rule that the plan does not need is not there: each costs every request. A host whose paths all lead to
one backend is one look-up; other hosts have a site (s0, s1, ...), by which their paths are looked up: the maps' order
is `decide`'s. What is the same for all requests of a connection is worked out once for it.
Truth: HAProxy 2.6's configuration manual; ingress-nginx for the headers that a pod sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from clusterip.ingress.annotations import Canary
from clusterip.ingress.model import EXACT, PREFIX, Key
from clusterip.ingress.plan import ANY, BEGIN, REGEX, Backend, Plan, Route, key_of
from clusterip.ingress.sections import quoted

Line = tuple[str, Key | None]  # and whose it is
WHOLE, HOSTS, WILDCARDS = "whole.map", "hosts.map", "wildcards.map"
EXACTS, REGEXES, BEGINNINGS, DEFAULTS = "exact.map", "regex.map", "begin.map", "defaults.map"
MAPS = (WHOLE, HOSTS, WILDCARDS, EXACTS, REGEXES, BEGINNINGS, DEFAULTS)
ANYWHERE = "any"

TO, SITE = "{ var(txn.to) -m found }", "{ var(txn.site) -m found }"
CONNECTION = """\
  tcp-request session set-var-fmt(sess.id) %[uuid]
  tcp-request session set-var-fmt(sess.src) %[src]
  tcp-request session set-var-fmt(sess.port) %[dst_port]
  tcp-request session set-var-fmt(sess.proto) http
  tcp-request session set-var-fmt(sess.proto) https if { ssl_fc }"""
REQUEST = """\
  http-request disable-l7-retry unless { method GET HEAD OPTIONS }
  http-request normalize-uri percent-decode-unreserved
  http-request normalize-uri percent-to-uppercase
  http-request normalize-uri path-strip-dot
  http-request normalize-uri path-strip-dotdot full
  http-request set-header X-Request-ID %[var(sess.id)]-%rt unless { req.hdr(X-Request-ID) -m found }
  http-request set-header X-Forwarded-For %[var(sess.src)]
  http-request set-header X-Real-IP %[var(sess.src)]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[var(sess.port)]
  http-request set-header X-Forwarded-Proto %[var(sess.proto)]"""


@dataclass(frozen=True, slots=True)
class Ways:
    """What the frontend looks up, by map; each line of a map, and whose it is."""

    maps: Mapping[str, tuple[Line, ...]]

    def files(self) -> dict[str, bytes]:
        return {name: "".join(f"{text}\n" for text, _ in lines).encode() for name, lines in self.maps.items()}

    def owners(self) -> dict[str, tuple[Key | None, ...]]:
        return {name: tuple(owner for _, owner in lines) for name, lines in self.maps.items()}


def ways(plan: Plan, names: Mapping[Backend, str]) -> Ways:
    """The maps."""
    wholes = _wholes(plan)
    sites = {ANY: ANYWHERE} | {host: f"s{number}" for number, host in enumerate(plan.hosts)}
    found: dict[str, list[Line]] = {name: [] for name in MAPS}
    for host in plan.hosts:
        if host not in wholes:
            found[WILDCARDS if host.startswith("*.") else HOSTS].append((f"{host} {sites[host]}", None))
    for route in plan.routes:
        name, owner = names[route.backend], route.backend.ingress
        if route.host in wholes:
            found[WHOLE].append((f"{route.host} {name}", owner))
        else:
            where, key = _entry(route, sites[route.host])
            found[where].append((f"{key} {name}", owner))
    for host, backend in plan.defaults:
        found[DEFAULTS].append((f"{sites[host]} {names[backend]}", backend.ingress))
    return Ways({name: tuple(lines) for name, lines in found.items()})


def _wholes(plan: Plan) -> set[str]:
    """Hosts whose every path leads to one backend."""
    number = Counter(route.host for route in plan.routes)
    return {
        route.host
        for route in plan.routes
        if number[route.host] == 1 and route.kind in (PREFIX, BEGIN) and key_of(route) == "/"
        if route.host != ANY and not route.host.startswith("*.")
    }


def _entry(route: Route, site: str) -> tuple[str, str]:
    """The map of a route, and what stands for it there."""
    if route.kind == EXACT:
        return EXACTS, f"{site}{route.path}"
    if route.kind == REGEX:
        return REGEXES, f"(?i)^{site}(?=/)(?:{route.path})"
    return BEGINNINGS, f"{site}{key_of(route)}"


# -- rules -------------------------------------------------------------------------------------------------------------


def request_lines(plan: Plan, names: Mapping[Backend, str], found: Ways) -> list[Line]:
    """All that is done with a request."""
    lines: list[Line] = [(line, None) for line in (*CONNECTION.split("\n"), *REQUEST.split("\n"), *_look_ups(found))]
    for backend, name in names.items():
        for canary, other in backend.canaries:
            lines += [(line, other.ingress) for line in _canary(canary, name, names[other])]
    return [*lines, (f"  use_backend %[var(txn.to)] if {TO}", None)]


def _look_ups(found: Ways) -> Iterator[str]:
    """From the most said to the least; a name with a port, or with a dot at its end, is looked up a second time."""
    has = {name for name, lines in found.maps.items() if lines}
    if WHOLE in has:
        yield _set("to", f"req.hdr(host),lower,map_str({WHOLE})")
    if has:
        yield _set("host", "req.hdr(host),field(1,:),lower,rtrim(.)", TO)
    if WHOLE in has:
        yield _set("to", f"var(txn.host),map_str({WHOLE})", TO)
    if has - {WHOLE}:
        yield from _sites(has)
        yield from _paths(has)


def _sites(has: set[str]) -> Iterator[str]:
    if HOSTS in has:
        yield _set("site", f"var(txn.host),map_str({HOSTS})", TO)
    if WILDCARDS in has:
        yield _set("site", f"var(txn.host),regsub(^[^.]+,*),map_str({WILDCARDS})", TO, SITE)
    yield _set("site", f"str({ANYWHERE})", TO, SITE)


def _paths(has: set[str]) -> Iterator[str]:
    path = "var(txn.site),concat(,txn.path)"
    if has & {EXACTS, REGEXES, BEGINNINGS}:
        yield _set("path", "path", TO)
    if EXACTS in has:
        yield _set("to", f"{path},map_str({EXACTS})", TO)
    if REGEXES in has:
        yield _set("to", f"{path},map_reg({REGEXES})", TO)
    if BEGINNINGS in has:
        yield _set("to", f"var(txn.site),concat(,txn.path,/),map_beg({BEGINNINGS})", TO)
    if DEFAULTS in has:
        yield _set("to", f"var(txn.site),map_str({DEFAULTS})", TO)
        yield _set("to", f"str({ANYWHERE}),map_str({DEFAULTS})", TO)


def _set(variable: str, value: str, *unless: str) -> str:
    return f"  http-request set-var(txn.{variable}) {value}" + (f" unless {' || '.join(unless)}" if unless else "")


def _canary(canary: Canary, name: str, other: str) -> Iterator[str]:
    """Which requests of the backend go to its canary instead."""
    mine, open_ = f"{{ var(txn.to) -m str {name} }}", "!{ var(txn.canary) -m found }"
    yes, no = (f"  http-request set-var(txn.canary) str({word}) if {mine} {open_}" for word in ("yes", "no"))
    if canary.header and canary.header_value:
        yield f"{yes} {{ req.fhdr({canary.header}) -m str -- {quoted(canary.header_value)} }}"
    elif canary.header and canary.header_pattern:
        yield f"{yes} {{ req.fhdr({canary.header}) -m reg -- {quoted(canary.header_pattern)} }}"
    elif canary.header:
        yield f"{yes} {{ req.fhdr({canary.header}) -m str always }}"
        yield f"{no} {{ req.fhdr({canary.header}) -m str never }}"
    if canary.cookie:
        yield f"{yes} {{ req.cook({canary.cookie}) -m str always }}"
        yield f"{no} {{ req.cook({canary.cookie}) -m str never }}"
    if canary.weight:
        yield f"{yes} {{ rand({canary.total}) lt {canary.weight} }}"
    yield f"  http-request set-var(txn.to) str({other}) if {mine} {{ var(txn.canary) -m str yes }}"
