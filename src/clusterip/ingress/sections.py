"""One backend as lines of HAProxy's configuration.

Stage: compile.  In: a backend, its slots.  Out: lines.
Rules: pure; words of an Ingress come through `quoted` (a word) or `written` (a word with HAProxy's % expressions).
Truth: HAProxy 2.6's configuration manual; ingress-nginx for what an annotation means.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from clusterip.ingress.annotations import Cookie, Cors
from clusterip.ingress.endpoints import Address
from clusterip.ingress.plan import Backend
from clusterip.ingress.slots import Slots

TRANSPORT = {
    "HTTP": "",
    "AUTO_HTTP": "",
    "HTTPS": " ssl verify none",
    "GRPC": " proto h2",
    "GRPCS": " ssl verify none alpn h2",
}
GROUP = re.compile(r"\$(\d)")
EMPTY = "127.0.0.1:1"  # an address for a slot that has none; nothing is sent to it


def quoted(word: str) -> str:
    """One word, whatever is in it."""
    return "'" + word.replace("'", "'\\''") + "'"


def written(word: str) -> str:
    """One word that HAProxy reads for expressions."""
    return quoted(word.replace("%", "%%"))


def backend_lines(backend: Backend, name: str, slots: Slots) -> list[str]:
    """The section."""
    settings = backend.settings
    lines = [f"backend {name}", f"  balance {settings.balance}"]
    lines += [f"  timeout connect {settings.connect_ms}ms", f"  timeout server {settings.read_ms}ms"]
    lines += [f"  {line}" for line in (*_guards(backend), *_redirects(backend), *_cors(settings.cors))]
    lines += [f"  {line}" for line in _rewrites(backend)]
    if settings.cookie is not None:
        lines += [f"  {line}" for line in _affinity(settings.cookie, backend)]
    kind = TRANSPORT[settings.protocol]
    return lines + [f"  {_server(index, held)}{kind}" for index, held in enumerate(slots)]


def _server(index: int, held: Address | None) -> str:
    if held is None:
        return f"server s{index} {EMPTY} disabled"
    host = f"[{held[0]}]" if ":" in held[0] else held[0]
    return f"server s{index} {host}:{held[1]}"


def _guards(backend: Backend) -> Iterator[str]:
    settings = backend.settings
    if settings.denied:
        yield f"http-request deny deny_status 403 if {{ src {' '.join(settings.denied)} }}"
    if settings.allowed:
        yield f"http-request deny deny_status 403 unless {{ src {' '.join(settings.allowed)} }}"
    if settings.body_limit:
        yield f"http-request deny deny_status 413 if {{ req.body_size gt {settings.body_limit} }}"


def _redirects(backend: Backend) -> Iterator[str]:
    if backend.https_only:
        yield "http-request redirect scheme https code 308 unless { ssl_fc }"
    if backend.settings.redirect:
        code = backend.settings.redirect_code
        yield f"http-request redirect location {written(backend.settings.redirect)} code {code}"


def _cors(cors: Cors | None) -> Iterator[str]:
    if cors is None:
        return
    if "*" in cors.origins:
        yield "http-request set-var(txn.origin) str('*')"
    else:
        known = " ".join(map(quoted, cors.origins))
        yield f"http-request set-var(txn.origin) req.fhdr(Origin) if {{ req.fhdr(Origin) -m str -- {known} }}"
    headers = [
        ("Access-Control-Allow-Methods", cors.methods),
        ("Access-Control-Allow-Headers", cors.headers),
        ("Access-Control-Max-Age", str(cors.max_age)),
    ]
    known_origin = "{ var(txn.origin) -m found }"
    yield "http-after-response set-header Access-Control-Allow-Origin %[var(txn.origin)] if " + known_origin
    if cors.credentials:
        yield f"http-after-response set-header Access-Control-Allow-Credentials true if {known_origin}"
    if cors.exposed:
        yield f"http-after-response set-header Access-Control-Expose-Headers {written(cors.exposed)} if {known_origin}"
    extra = " ".join(f"hdr {name} {written(value)}" for name, value in headers)
    yield f"http-request return status 204 {extra} if {{ method OPTIONS }} {{ req.hdr(Origin) -m found }}"


def _rewrites(backend: Backend) -> Iterator[str]:
    target = backend.settings.rewrite
    if target and backend.pattern:
        groups = GROUP.sub(r"\\\1", target.replace("\\", "\\\\").replace("%", "%%"))
        yield f"http-request replace-path {quoted(f'(?i)^(?:{backend.pattern}).*$')} {quoted(groups)}"
    elif target:
        yield f"http-request set-path {written(GROUP.sub('', target))}"
    if backend.settings.host_header:
        yield f"http-request set-header Host {written(backend.settings.host_header)}"


def _affinity(cookie: Cookie, backend: Backend) -> Iterator[str]:
    """The cookie's value is a digest of the server's address, so that every replica gives the same."""
    secret = hashlib.sha256(f"{backend.ingress}{backend.target}".encode()).hexdigest()[:32]
    if not cookie.change_on_failure:
        yield "no option redispatch"
    yield f"cookie {cookie.name} insert dynamic"
    yield f"dynamic-cookie-key {secret}"
    form = quoted(f"^({re.escape(cookie.name)}=[^;]*); path=/")
    for secure, condition in _secure(cookie):
        words = f"\\1; Path={_escaped(cookie.path or backend.cookie_path)}{_traits(cookie)}{secure}; HttpOnly"
        yield f"http-after-response replace-header Set-Cookie {form} {quoted(words)}{condition}"


def _secure(cookie: Cookie) -> tuple[tuple[str, str], ...]:
    if cookie.secure is None:
        return (("; Secure", " if { ssl_fc }"), ("", " unless { ssl_fc }"))
    return (("; Secure" if cookie.secure else "", ""),)


def _traits(cookie: Cookie) -> str:
    found = ""
    if cookie.expires is not None:
        found += f"; Expires=%[date({cookie.expires}),http_date]"
    if cookie.max_age is not None:
        found += f"; Max-Age={cookie.max_age}"
    if cookie.domain:
        found += f"; Domain={cookie.domain}"
    if cookie.same_site:
        found += f"; SameSite={cookie.same_site}"
    return found


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace("%", "%%")
