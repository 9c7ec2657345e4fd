"""HAProxy's configuration: files, and whose each line is.

Stage: compile.  In: a plan, what the slots hold.  Out: haproxy.cfg, maps, crt-list, certificates.
Rules: pure; every word that comes from an Ingress is quoted; a line is of one Ingress, so that a refused line names
whom to leave out.
Truth: HAProxy 2.6's configuration manual.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from clusterip.ingress.certificates import Certificate
from clusterip.ingress.frontend import request_lines, ways
from clusterip.ingress.model import Key
from clusterip.ingress.plan import Backend, Plan
from clusterip.ingress.sections import backend_lines
from clusterip.ingress.slots import Slots, fresh

CONFIG, CERTIFICATES = "haproxy.cfg", "certificates.list"
NOWHERE = "nowhere"
UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")

GLOBAL = """\
global
  default-path config
  expose-experimental-directives
  hard-stop-after 240s
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
LAST = f"""\
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
    """Files by name, and of which Ingress (or, in the list of certificates, which Secret) each of their lines is."""

    files: Mapping[str, bytes] = field(repr=False)
    owners: Mapping[str, tuple[Key | None, ...]] = field(default_factory=dict, repr=False)


@lru_cache(maxsize=16384)
def name_of(backend: Backend) -> str:
    """What HAProxy calls it: where it leads, and a digest of all that it is."""
    digest = hashlib.sha256(repr(backend).encode()).hexdigest()[:10]
    words = f"{backend.namespace}_{backend.ingress[1]}_{backend.target.service}_{backend.target.port}"
    return f"{UNSAFE.sub('-', words)}_{digest}"


def compile_plan(plan: Plan, listening: Listening, fallback: Certificate, held: Mapping[str, Slots]) -> Config:
    """The files."""
    names = {backend: name_of(backend) for backend in plan.backends()}
    found = ways(plan, names)
    lines: list[tuple[str, Key | None]] = [(line, None) for line in (*GLOBAL.split("\n"), *_front(listening))]
    lines += request_lines(plan, names, found)
    lines += [(line, None) for line in LAST.rstrip("\n").split("\n")]
    for backend, name in names.items():
        lines += [(line, backend.ingress) for line in backend_lines(backend, name, held.get(name) or fresh(()))]
    files = {CONFIG: ("\n".join(line for line, _ in lines) + "\n").encode()}
    owners = {CONFIG: tuple(owner for _, owner in lines), CERTIFICATES: _secrets(plan)} | found.owners()
    return Config(files | found.files() | _certificates(plan, fallback), owners)


def _front(listening: Listening) -> list[str]:
    lines = [f"  bind {address}" for address in listening.http]
    lines += [f"  bind {address} ssl crt-list {CERTIFICATES} alpn h2,http/1.1" for address in listening.https]
    return ["frontend requests", *lines]


def _certificates(plan: Plan, fallback: Certificate) -> dict[str, bytes]:
    files, lines = {"default.pem": fallback.pem}, ["default.pem"]
    for host, certificate in plan.certificates:
        name = certificate_file(certificate)
        files[name] = certificate.pem
        lines.append(f"{name} {host}")
    return files | {CERTIFICATES: "".join(f"{line}\n" for line in lines).encode()}


def _secrets(plan: Plan) -> tuple[Key | None, ...]:
    return (None, *(certificate.secret for _, certificate in plan.certificates))


def certificate_file(certificate: Certificate) -> str:
    return f"{certificate.secret[0]}_{certificate.secret[1]}.pem" if certificate.secret[1] else "default.pem"
