"""Which request goes where: Ingresses and certificates become routes; `decide` says what they mean.

Stage: decide.  In: a picture of Ingresses, classes and Secrets.  Out: a plan, and what is to be said of each Ingress.
Rules: pure and total. The host is chosen first: exact before wildcard (one label) before every host; then the path:
exact, then regular expressions (the longest first), then the longest prefix; then the host's default, then the default
of all. Of two Ingresses that claim one host and path the older has it. Nothing bad in one Ingress touches another.
Truth: networking.k8s.io/v1 Ingress; ingress-nginx for what the API leaves to the controller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import quote

from clusterip.ingress.annotations import Canary, Settings
from clusterip.ingress.annotations import read as read_annotations
from clusterip.ingress.certificates import Certificate, read_certificate
from clusterip.ingress.model import EXACT, PREFIX, Ingress, IngressClass, Key, Path, Secret, Target

NGINX_CONTROLLER = "k8s.io/ingress-nginx"
ANY = ""
BEGIN, REGEX = "begin", "regex"
SIGNS = re.compile(r"[()\[\]*+?|^$\\]|\.\*")
HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
PRINTABLE = "".join(chr(code) for code in range(33, 127))


@dataclass(frozen=True, slots=True)
class Served:
    """Which Ingresses are ours."""

    controller: str = NGINX_CONTROLLER
    class_name: str = "nginx"
    without_class: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    ingresses: Mapping[Key, Ingress]
    classes: Mapping[str, IngressClass] = field(default_factory=dict)
    secrets: Mapping[Key, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backend:
    """Where requests go, and how they are treated on the way."""

    ingress: Key
    namespace: str
    target: Target
    settings: Settings
    https_only: bool = False
    pattern: str = ""  # whose groups the rewrite names
    cookie_path: str = "/"
    canaries: tuple[tuple[Canary, Backend], ...] = ()


class Route(NamedTuple):
    host: str
    kind: str  # EXACT, PREFIX, BEGIN, REGEX
    path: str
    backend: Backend


class Saying(NamedTuple):
    """What is wrong with an Ingress."""

    ingress: Key
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    routes: tuple[Route, ...] = ()
    defaults: tuple[tuple[str, Backend], ...] = ()  # by host; ANY is the default of all
    hosts: tuple[str, ...] = ()
    certificates: tuple[tuple[str, Certificate], ...] = ()  # by host
    sayings: tuple[Saying, ...] = ()

    def backends(self) -> tuple[Backend, ...]:
        first = [route.backend for route in self.routes] + [backend for _, backend in self.defaults]
        return tuple(dict.fromkeys(first + [canary for each in first for _, canary in each.canaries]))


class Request(NamedTuple):
    host: str
    path: str
    headers: Mapping[str, str] = {}
    cookies: Mapping[str, str] = {}
    roll: float = 1.0  # of the canary's die: below its share goes to it


# -- meaning -----------------------------------------------------------------------------------------------------------


def decide(plan: Plan, request: Request) -> Backend | None:
    """Where a request goes; None is nowhere (404)."""
    host = site(plan.hosts, request.host)
    found = _route(plan, host, request.path)
    if found is None:
        defaults = dict(plan.defaults)
        found = defaults.get(host) or defaults.get(ANY)
    return _canary(found, request) if found else None


def site(hosts: Iterable[str], asked: str) -> str:
    """The host of the plan that a request's host means."""
    name = asked.partition(":")[0].lower().rstrip(".")
    known = set(hosts)
    if name and name in known:
        return name
    first, dot, rest = name.partition(".")
    wildcard = f"*.{rest}"
    return wildcard if first and dot and wildcard in known else ANY


def _route(plan: Plan, host: str, path: str) -> Backend | None:
    routes = [route for route in plan.routes if route.host == host]
    for route in routes:
        if route.kind == EXACT and route.path == path:
            return route.backend
    for route in routes:
        if route.kind == REGEX and re.match(f"(?i)(?:{route.path})", path):
            return route.backend
    fitting = [route for route in routes if route.kind in (PREFIX, BEGIN) and f"{path}/".startswith(key_of(route))]
    return max(fitting, key=lambda route: len(key_of(route))).backend if fitting else None


def key_of(route: Route) -> str:
    """What a path with a slash after it begins with, when the route is its own."""
    return route.path.rstrip("/") + "/" if route.kind == PREFIX else route.path


def _canary(found: Backend, request: Request) -> Backend:
    headers = {name.lower(): value for name, value in request.headers.items()}
    for canary, other in found.canaries:
        told = _told(canary, headers.get(canary.header.lower()) if canary.header else None)
        if told is None and canary.cookie:
            told = {"always": True, "never": False}.get(request.cookies.get(canary.cookie, ""))
        if told or (told is None and request.roll < canary.weight / canary.total):
            return other
    return found


def _told(canary: Canary, value: str | None) -> bool | None:
    """What a header says: yes, no, or nothing."""
    if value is None:
        return None
    if canary.header_value:
        return True if value == canary.header_value else None
    if canary.header_pattern:
        return True if re.search(canary.header_pattern, value) else None
    return {"always": True, "never": False}.get(value)


# -- the plan ----------------------------------------------------------------------------------------------------------


def is_ours(ingress: Ingress, classes: Mapping[str, IngressClass], served: Served) -> bool:
    """Whether an Ingress is served here."""
    if ingress.class_name is None:
        return served.without_class or any(
            each.is_default and each.controller == served.controller for each in classes.values()
        )
    known = classes.get(ingress.class_name)
    return known.controller == served.controller if known else ingress.class_name == served.class_name


def make_plan(
    picture: Picture,
    served: Served,
    refused: Mapping[Key, str] | None = None,
    spoilt: Mapping[Key, str] | None = None,
) -> Plan:
    """The plan; `refused` are Ingresses that cannot be carried out, `spoilt` Secrets that cannot be shown; and why."""
    ours = [each for each in picture.ingresses.values() if is_ours(each, picture.classes, served)]
    draft = _Draft(picture, spoilt or {})
    for key, why in sorted((refused or {}).items()):
        draft.say(key, "Rejected", f"left out: {why}")
    taken = [each for each in sorted(ours, key=lambda each: each.age) if each.key not in (refused or {})]
    read = [(ingress, draft.settings(ingress)) for ingress in taken]
    for ingress, settings in read:
        if settings.canary is None:
            draft.add(ingress, settings)
    for ingress, settings in read:
        if settings.canary is not None:
            draft.add_canary(ingress, settings, settings.canary)
    return draft.plan()


class _Draft:
    """A plan in the making."""

    def __init__(self, picture: Picture, spoilt: Mapping[Key, str]) -> None:
        self._picture, self._spoilt = picture, spoilt
        self._routes: dict[tuple[str, str, str], Route] = {}
        self._defaults: dict[str, Backend] = {}
        self._hosts: dict[str, None] = {}
        self._certificates: dict[str, Certificate] = {}
        self._sayings: dict[Saying, None] = {}

    def say(self, key: Key, reason: str, message: str) -> None:
        self._sayings[Saying(key, reason, message)] = None

    def settings(self, ingress: Ingress) -> Settings:
        settings, wrong = read_annotations(dict(ingress.annotations))
        for message in wrong:
            self.say(ingress.key, "BadAnnotation", message)
        return settings

    def add(self, ingress: Ingress, settings: Settings) -> None:
        secure = self._secure(ingress)
        for host in ingress.hosts:
            if self._is_name(ingress, host):
                self._hosts.setdefault(host)
        for path in ingress.paths:
            self._add_path(ingress, settings, path, path.host in secure)
        if ingress.default is not None:
            known = {*filter(self._hosts.__contains__, ingress.hosts), ANY}
            for host in known if ingress.default.service else ():
                backend = Backend(ingress.key, ingress.namespace, ingress.default, settings)
                self._defaults.setdefault(host, _treated(backend, settings, host in secure))

    def _add_path(self, ingress: Ingress, settings: Settings, path: Path, secure: bool) -> None:
        route = self._route(ingress, settings, path, secure)
        if route is None:
            return
        owner = self._routes.setdefault(_claim(route), route).backend.ingress
        if owner != ingress.key:
            message = f"host {path.host or '*'} and path {path.path} belong to the older Ingress {'/'.join(owner)}"
            self.say(ingress.key, "Conflict", message)

    def _is_name(self, ingress: Ingress, host: str) -> bool:
        """Whether a host is one, or every one; an API that checks less may tell of others."""
        if host == ANY or (HOST.fullmatch(host) and len(host) < 254):
            return True
        self.say(ingress.key, "BadHost", f"host {host!r} is no DNS name; its paths are left out")
        return False

    def _route(self, ingress: Ingress, settings: Settings, path: Path, secure: bool) -> Route | None:
        if not self._is_name(ingress, path.host):
            return None
        if not path.target.service:
            self.say(ingress.key, "BadBackend", f"path {path.path}: only Services are backends")
            return None
        kind = _kind(path, settings)
        text = path.path
        if kind != REGEX:
            text = quote(text, safe=PRINTABLE)
        elif why := _bad_pattern(text):
            self.say(ingress.key, "BadPath", f"path {text}: {why}")
            return None
        backend = _treated(Backend(ingress.key, ingress.namespace, path.target, settings), settings, secure)
        groups = text if "$" in settings.rewrite else ""
        cookie = settings.cookie
        chosen = (cookie.path or (path.path if kind != REGEX else "/")) if cookie else "/"
        if re.fullmatch(r"/[!-:<-~]*", chosen) is None:
            chosen = "/"
        return Route(path.host, kind, text, replace(backend, pattern=groups, cookie_path=chosen))

    def add_canary(self, ingress: Ingress, settings: Settings, canary: Canary) -> None:
        """A canary takes a share of the routes that others have."""
        secure = self._secure(ingress)
        for path in ingress.paths:
            route = self._route(ingress, settings, path, path.host in secure)
            main = self._routes.get(_claim(route)) if route else None
            if route is None or main is None:
                self.say(ingress.key, "NoMainIngress", f"canary for {path.host}{path.path}, which no Ingress serves")
            elif main.backend.canaries:
                self.say(ingress.key, "Conflict", f"{path.host}{path.path} has a canary already")
            else:
                backend = replace(main.backend, canaries=((canary, route.backend),))
                self._routes[_claim(route)] = main._replace(backend=backend)

    def _secure(self, ingress: Ingress) -> set[str]:
        """The hosts that the Ingress has TLS for; their certificates are noted."""
        found: set[str] = set()
        for tls in ingress.tls:
            named = tls.hosts or tuple(host for host in ingress.hosts if host)
            hosts = tuple(host for host in named if self._is_name(ingress, host))
            found.update(hosts)
            certificate = self._certificate(ingress, tls.secret) if tls.secret else None
            for host in hosts if certificate else ():
                if certificate and self._certificates.setdefault(host, certificate).secret != certificate.secret:
                    self.say(ingress.key, "Conflict", f"host {host} has the certificate of an older Ingress")
        return found

    def _certificate(self, ingress: Ingress, name: str) -> Certificate | None:
        secret = self._picture.secrets.get((ingress.namespace, name))
        made = read_certificate(secret) if secret else "is not there"
        made = self._spoilt.get((ingress.namespace, name), made)
        if isinstance(made, str):
            message = f"Secret {ingress.namespace}/{name} {made}; the default certificate stands in"
            self.say(ingress.key, "BadCertificate", message)
            return None
        return made

    def plan(self) -> Plan:
        routes = sorted(self._routes.values(), key=lambda route: (route.host, -len(route.path), route.path))
        return Plan(
            routes=tuple(routes),
            defaults=tuple(sorted(self._defaults.items(), key=lambda item: item[0])),
            hosts=tuple(sorted(host for host in self._hosts if host)),
            certificates=tuple(sorted(self._certificates.items(), key=lambda item: item[0])),
            sayings=tuple(self._sayings),
        )


def _treated(backend: Backend, settings: Settings, secure: bool) -> Backend:
    return replace(backend, https_only=settings.force_ssl_redirect or (settings.ssl_redirect and secure))


def _kind(path: Path, settings: Settings) -> str:
    if path.type == EXACT:
        return EXACT
    if settings.use_regex or (settings.rewrite and SIGNS.search(path.path)):
        return REGEX
    return PREFIX if path.type == PREFIX else BEGIN


def _claim(route: Route) -> tuple[str, str, str]:
    return route.host, route.kind, key_of(route) if route.kind == PREFIX else route.path


def _bad_pattern(text: str) -> str:
    if not re.fullmatch(r"/[!-~]*", text):
        return "a regular expression must begin with / and be printable ASCII without spaces"
    try:
        re.compile(text)
    except re.error as error:
        return f"is no regular expression: {error}"
    return ""
