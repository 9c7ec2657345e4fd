"""Annotations of Ingresses: how requests of one Ingress are treated.

Stage: decode.  In: annotations.  Out: Settings, and a sentence for each that is wrong or not known.
Rules: pure; one wrong annotation leaves the others alone. Every text that comes out is safe on a line of configuration:
it has no control characters.
Truth: ingress-nginx's annotations, by the names people write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any, TypeVar

T = TypeVar("T")
PREFIX = "nginx.ingress.kubernetes.io/"
TOKEN = re.compile(r"[A-Za-z0-9._-]{1,128}")
PLAIN = re.compile(r"[ -~]{0,2048}")
ORIGIN = re.compile(r"\*|[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9.:\[\]-]+")
DOMAIN = re.compile(r"\.?[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
NOBODY: tuple[str, ...] = ()
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
SPANS = {"": 1000, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
PROTOCOLS = ("HTTP", "HTTPS", "GRPC", "GRPCS", "AUTO_HTTP")


@dataclass(frozen=True, slots=True)
class Cookie:
    """Affinity by a cookie."""

    name: str = "INGRESSCOOKIE"
    path: str | None = None
    domain: str = ""
    max_age: int | None = None
    expires: int | None = None
    same_site: str = ""
    secure: bool | None = None  # None: where the request came by TLS
    change_on_failure: bool = True  # False: who has a cookie is not sent to another pod


@dataclass(frozen=True, slots=True)
class Cors:
    origins: tuple[str, ...] = ("*",)
    methods: str = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
    headers: str = (
        "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
    )
    exposed: str = ""
    credentials: bool = True
    max_age: int = 1728000


@dataclass(frozen=True, slots=True)
class Canary:
    weight: int = 0
    total: int = 100
    header: str = ""
    header_value: str = ""
    header_pattern: str = ""
    cookie: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the annotations of one Ingress say."""

    cookie: Cookie | None = None
    rewrite: str = ""
    use_regex: bool = False
    ssl_redirect: bool = True
    force_ssl_redirect: bool = False
    connect_ms: int = 5_000
    read_ms: int = 60_000
    body_limit: int = 0  # none
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    protocol: str = "HTTP"
    redirect: str = ""
    redirect_code: int = 301
    service_upstream: bool = False
    balance: str = "roundrobin"
    host_header: str = ""
    cors: Cors | None = None
    canary: Canary | None = None


def read(annotations: Mapping[str, str]) -> tuple[Settings, tuple[str, ...]]:
    """The settings, and what is wrong."""
    reader = _Reader({k.removeprefix(PREFIX): v for k, v in annotations.items() if k.startswith(PREFIX)})
    settings = _plain(reader)
    settings = replace(settings, cookie=_cookie(reader), cors=_cors(reader), canary=_canary(reader))
    if settings.use_regex and settings.cookie is not None and settings.cookie.path is None:
        reader.wrong.append(f"{PREFIX}session-cookie-path is needed beside use-regex; the cookie's path is /")
        settings = replace(settings, cookie=replace(settings.cookie, path="/"))
    reader.wrong += [f"{PREFIX}{name}: not supported" for name in sorted(reader.unread())]
    return settings, tuple(reader.wrong)


class _Reader:
    """Reads annotations by name and remembers which are left."""

    def __init__(self, found: Mapping[str, str]) -> None:
        self._found, self._read = found, set[str]()
        self.wrong: list[str] = []

    def unread(self) -> set[str]:
        return set(self._found) - self._read

    def __call__(self, name: str, parse: Callable[[str], T], default: T) -> T:
        self._read.add(name)
        if name not in self._found:
            return default
        try:
            return parse(self._found[name].strip())
        except ValueError as error:
            self.wrong.append(f"{PREFIX}{name}: {self._found[name]!r}: {error}")
            return default


def _plain(read: _Reader) -> Settings:
    kind = Settings()
    code, temporal = read("permanent-redirect-code", _code, 301), read("temporal-redirect", text, "")
    send, receive = read("proxy-send-timeout", span, 0), read("proxy-read-timeout", span, 0)
    older, newer = (read(f"{word}list-source-range", networks, NOBODY) for word in ("white", "allow"))
    permanent = read("permanent-redirect", text, "")
    return replace(
        kind,
        rewrite=read("rewrite-target", _target, ""),
        use_regex=read("use-regex", boolean, False),
        ssl_redirect=read("ssl-redirect", boolean, True),
        force_ssl_redirect=read("force-ssl-redirect", boolean, False),
        connect_ms=read("proxy-connect-timeout", span, kind.connect_ms),
        read_ms=max(send, receive) or kind.read_ms,
        body_limit=read("proxy-body-size", size, 0),
        allowed=older or newer,
        denied=read("denylist-source-range", networks, NOBODY),
        protocol=read("backend-protocol", one_of(*PROTOCOLS), "HTTP"),
        redirect=permanent or temporal,
        redirect_code=code if permanent else 302,
        service_upstream=read("service-upstream", boolean, False),
        balance={"ewma": "leastconn"}.get(read("load-balance", one_of("round_robin", "ewma"), ""), "roundrobin"),
        host_header=read("upstream-vhost", _matching(DOMAIN, "is not a host name"), ""),
    )


def _cookie(read: _Reader) -> Cookie | None:
    wanted = read("affinity", one_of("cookie"), "")
    read("affinity-mode", one_of("balanced", "persistent"), "")
    read("affinity-canary-behavior", one_of("sticky", "legacy"), "")
    found = Cookie(
        name=read("session-cookie-name", token, "INGRESSCOOKIE"),
        path=read("session-cookie-path", _cookie_value, None),
        domain=read("session-cookie-domain", _matching(DOMAIN, "is not a domain"), ""),
        max_age=read("session-cookie-max-age", whole, None),
        expires=read("session-cookie-expires", whole, None),
        same_site=read("session-cookie-samesite", one_of("None", "Lax", "Strict"), ""),
        secure=read("session-cookie-secure", boolean, None),
        change_on_failure=read("session-cookie-change-on-failure", boolean, True),
    )
    return found if wanted else None


def _cors(read: _Reader) -> Cors | None:
    wanted, kind = read("enable-cors", boolean, False), Cors()
    found = Cors(
        origins=read("cors-allow-origin", origins, kind.origins),
        methods=read("cors-allow-methods", text, kind.methods),
        headers=read("cors-allow-headers", text, kind.headers),
        exposed=read("cors-expose-headers", text, ""),
        credentials=read("cors-allow-credentials", boolean, True),
        max_age=read("cors-max-age", whole, kind.max_age),
    )
    return found if wanted else None


def _canary(read: _Reader) -> Canary | None:
    wanted = read("canary", boolean, False)
    found = Canary(
        weight=read("canary-weight", whole, 0),
        total=read("canary-weight-total", whole, 100) or 100,
        header=read("canary-by-header", token, ""),
        header_value=read("canary-by-header-value", text, ""),
        header_pattern=read("canary-by-header-pattern", pattern, ""),
        cookie=read("canary-by-cookie", token, ""),
    )
    return found if wanted else None


# -- kinds of values ---------------------------------------------------------------------------------------------------


def boolean(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return value.lower() == "true"


def whole(value: str) -> int:
    if not re.fullmatch(r"\d{1,9}", value):
        raise ValueError("must be a whole number")
    return int(value)


def span(value: str) -> int:
    """Milliseconds; a plain number is seconds."""
    found = re.fullmatch(r"(\d{1,7})(ms|s|m|h|d|)", value)
    if not found or not int(found[1]):
        raise ValueError("must be a number of seconds above 0")
    return min(int(found[1]) * SPANS[found[2]], 24 * SPANS["d"])


def size(value: str) -> int:
    """Bytes; 0 is no limit."""
    found = re.fullmatch(r"(\d{1,9})([kmg]?)", value.lower())
    if not found:
        raise ValueError("must be a number of bytes, or one with k, m or g")
    return int(found[1]) * UNITS[found[2]]


def networks(value: str) -> tuple[str, ...]:
    return tuple(str(ip_network(each.strip(), strict=False)) for each in value.split(",") if each.strip())


def origins(value: str) -> tuple[str, ...]:
    found = tuple(each.strip() for each in value.split(",") if each.strip())
    if not found or not all(map(ORIGIN.fullmatch, found)):
        raise ValueError("must be * or origins such as https://example.com")
    return found


def pattern(value: str) -> str:
    try:
        re.compile(text(value))
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return value


def text(value: str) -> str:
    if not PLAIN.fullmatch(value):
        raise ValueError("must be printable ASCII")
    return value


def token(value: str) -> str:
    if not TOKEN.fullmatch(value):
        raise ValueError("must be a name of letters, digits, - _ and .")
    return value


def one_of(*values: str) -> Callable[[str], str]:
    known = {value.lower(): value for value in values}

    def parse(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"must be {' or '.join(values)}")
        return known[value.lower()]

    return parse


def _matching(form: re.Pattern[str], why: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not form.fullmatch(value):
            raise ValueError(why)
        return value

    return parse


def _code(value: str) -> int:
    if value not in ("301", "302", "303", "307", "308"):
        raise ValueError("must be 301, 302, 303, 307 or 308")
    return int(value)


def _target(value: str) -> str:
    if not text(value).startswith("/") or " " in value:
        raise ValueError("must be a path, such as /$2")
    return value


def _cookie_value(value: str) -> Any:
    if not re.fullmatch(r"/[!-:<-~]*", value):
        raise ValueError("must be a path without spaces and semicolons")
    return value
