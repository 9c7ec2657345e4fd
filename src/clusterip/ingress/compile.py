"""HAProxy's configuration: files, and whose each line is.

Stage: compile.  In: a plan, what the slots hold.  Out: haproxy.cfg, maps, crt-list, certificates.
Rules: pure; every word that comes from an Ingress is quoted; a section is of one Ingress, so that a refused line names
whom to leave out. A route is looked up in maps by its site (s0, s1, ...) and path; the maps' order is `decide`'s.
Truth: HAProxy 2.6's configuration manual.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from clusterip.ingress.certificates import Certificate
from clusterip.ingress.model import EXACT, Key
from clusterip.ingress.plan import ANY, REGEX, Backend, Plan, key_of
from clusterip.ingress.sections import backend_lines, quoted
from clusterip.ingress.slots import Slots, fresh

CONFIG = "haproxy.cfg"
NOWHERE = "nowhere"

GLOBAL = """\
global
  default-path config
  expose-experimental-directives
  tune.ssl.default-dh-param 2048
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout queue 10s
  timeout http-request 30s
  timeout http-keep-alive 75s
  timeout tunnel 1h
  timeout client-fin 30s"""
REQUEST = """\
  http-request disable-l7-retry unless { method GET HEAD OPTIONS }
  http-request normalize-uri percent-decode-unreserved
  http-request normalize-uri percent-to-uppercase
  http-request normalize-uri path-strip-dot
  http-request normalize-uri path-strip-dotdot full
  http-request set-header X-Request-ID %[uuid] unless { req.hdr(X-Request-ID) -m found }
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Forwarded-Proto https if { ssl_fc }
  http-request set-header X-Forwarded-Proto http unless { ssl_fc }
  http-request set-var(txn.host) req.hdr(host),field(1,:),lower,rtrim(.)
  http-request set-var(txn.site) var(txn.host),map_str(hosts.map)
  http-request set-var(txn.site) var(txn.host),regsub(^[^.]+,*),map_str(wildcards.map) unless { var(txn.site) -m found }
  http-request set-var(txn.site) str(any) unless { var(txn.site) -m found }
  http-request set-var(txn.path) path
  http-request set-var(txn.key) var(txn.site),concat(,txn.path)
  http-request set-var(txn.begin) var(txn.site),concat(,txn.path,/)
  http-request set-var(txn.to) var(txn.key),map_str(exact.map)
  http-request set-var(txn.to) var(txn.key),map_reg(regex.map) unless { var(txn.to) -m found }
  http-request set-var(txn.to) var(txn.begin),map_beg(begin.map) unless { var(txn.to) -m found }
  http-request set-var(txn.to) var(txn.site),map_str(defaults.map) unless { var(txn.to) -m found }
  http-request set-var(txn.to) str(any),map_str(defaults.map) unless { var(txn.to) -m found }"""
LAST = f"""\
  use_backend %[var(txn.to)] if {{ var(txn.to) -m found }}
  default_backend {NOWHERE}
backend {NOWHERE}
  http-request return status 404 content-type text/plain string "404 page not found"
"""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where HAProxy listens; `socket` is its run-time API's."""

    http: tuple[str, ...] = ("0.0.0.0:80", "[::]:80")
    https: tuple[str, ...] = ("0.0.0.0:443", "[::]:443")
    socket: str = "run.sock"


@dataclass(frozen=True, slots=True)
class Config:
    """Files by name, and of which Ingress each line of the configuration is."""

    files: Mapping[str, bytes] = field(repr=False)
    owners: tuple[Key | None, ...] = field(repr=False)


def name_of(backend: Backend) -> str:
    """What HAProxy calls it: where it leads, and a digest of all that it is."""
    digest = hashlib.sha256(repr(backend).encode()).hexdigest()[:10]
    return f"{backend.namespace}_{backend.ingress[1]}_{backend.target.service}_{backend.target.port}_{digest}"


def compile_plan(plan: Plan, listening: Listening, fallback: Certificate, held: Mapping[str, Slots]) -> Config:
    """The files."""
    names = {backend: name_of(backend) for backend in plan.backends()}
    head = [*GLOBAL.split("\n"), *_front(listening), *REQUEST.split("\n")]
    lines: list[tuple[str, Key | None]] = [(line, None) for line in head]
    for backend, name in names.items():
        lines += [(line, backend.ingress) for line in _canary(backend, name, names)]
    lines += [(line, None) for line in LAST.rstrip("\n").split("\n")]
    for backend, name in names.items():
        lines += [(line, backend.ingress) for line in backend_lines(backend, name, held.get(name) or fresh(()))]
    files = {CONFIG: ("\n".join(line for line, _ in lines) + "\n").encode()}
    return Config(files | _maps(plan, names) | _certificates(plan, fallback), tuple(owner for _, owner in lines))


def _front(listening: Listening) -> list[str]:
    lines = [f"  bind {address}" for address in listening.http]
    lines += [f"  bind {address} ssl crt-list certificates.list alpn h2,http/1.1" for address in listening.https]
    return ["frontend requests", *lines]


def _canary(backend: Backend, name: str, names: Mapping[Backend, str]) -> list[str]:
    """Which requests of the backend go to its canary instead."""
    lines: list[str] = []
    for canary, other in backend.canaries:
        mine, open_ = f"{{ var(txn.to) -m str {name} }}", "!{ var(txn.canary) -m found }"
        yes, no = (f"  http-request set-var(txn.canary) str({word}) if {mine} {open_}" for word in ("yes", "no"))
        if canary.header and canary.header_value:
            lines.append(f"{yes} {{ req.fhdr({canary.header}) -m str -- {quoted(canary.header_value)} }}")
        elif canary.header and canary.header_pattern:
            lines.append(f"{yes} {{ req.fhdr({canary.header}) -m reg -- {quoted(canary.header_pattern)} }}")
        elif canary.header:
            lines.append(f"{yes} {{ req.fhdr({canary.header}) -m str always }}")
            lines.append(f"{no} {{ req.fhdr({canary.header}) -m str never }}")
        if canary.cookie:
            lines.append(f"{yes} {{ req.cook({canary.cookie}) -m str always }}")
            lines.append(f"{no} {{ req.cook({canary.cookie}) -m str never }}")
        if canary.weight:
            lines.append(f"{yes} {{ rand({canary.total}) lt {canary.weight} }}")
        lines.append(f"  http-request set-var(txn.to) str({names[other]}) if {mine} {{ var(txn.canary) -m str yes }}")
    return lines


def _maps(plan: Plan, names: Mapping[Backend, str]) -> dict[str, bytes]:
    sites = {ANY: "any"} | {host: f"s{number}" for number, host in enumerate(plan.hosts)}
    lines: dict[str, list[str]] = {
        name: [] for name in ("hosts.map", "wildcards.map", "exact.map", "regex.map", "begin.map", "defaults.map")
    }
    for host in plan.hosts:
        where = "wildcards.map" if host.startswith("*.") else "hosts.map"
        lines[where].append(f"{host} {sites[host]}")
    for route in plan.routes:
        site, name = sites[route.host], names[route.backend]
        if route.kind == EXACT:
            lines["exact.map"].append(f"{site}{route.path} {name}")
        elif route.kind == REGEX:
            lines["regex.map"].append(f"(?i)^{site}(?=/)(?:{route.path}) {name}")
        else:
            lines["begin.map"].append(f"{site}{key_of(route)} {name}")
    lines["defaults.map"] = [f"{sites[host]} {names[backend]}" for host, backend in plan.defaults]
    return {name: "".join(f"{line}\n" for line in text).encode() for name, text in lines.items()}


def _certificates(plan: Plan, fallback: Certificate) -> dict[str, bytes]:
    files, lines = {"default.pem": fallback.pem}, ["default.pem"]
    for host, certificate in plan.certificates:
        name = certificate_file(certificate)
        files[name] = certificate.pem
        lines.append(f"{name} {host}")
    return files | {"certificates.list": "".join(f"{line}\n" for line in lines).encode()}


def certificate_file(certificate: Certificate) -> str:
    return f"{certificate.secret[0]}_{certificate.secret[1]}.pem" if certificate.secret[1] else "default.pem"
