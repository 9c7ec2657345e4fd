"""Calls to webhooks: a review sent over HTTPS to a URL or to a Service, its answer as a tree.

Stage: shell.  In: a client configuration as the API has it, a tree.  Out: a tree, or CallError with upstream's text.
Rules: a Service is reached at a ready endpoint of its slices (the server has a way to pods, none to cluster IPs); its
       name is what TLS asks for; no redirect is followed, nothing is waited for without a limit.
Truth: apiserver's pkg/util/webhook/client.go; client-go's rest/request.go (the texts).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import posixpath
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from clusterip.api.addresses import with_port
from clusterip.api.endpointslice import SERVICE_NAME_LABEL, is_ready
from clusterip.api.errors import quoted
from clusterip.api.meta import Tree
from clusterip.apiserver.registry import Registry
from clusterip.transport.httplibrary import aiohttp
from clusterip.transport.tls import trusting

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: randomness is a parameter

ANSWER_LIMIT = 3 * 1024 * 1024
WORDS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    403: "forbidden",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


class CallError(Exception):
    """A webhook could not be asked, or did not answer well."""

    def __init__(self, why: str, code: int = 503) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True)
class Place:
    """Where a webhook is: the URL as texts show it, the address to dial, the name that its certificate shows."""

    shown: str
    dialled: str
    name: str


def place_of(client: Tree, registry: Registry, random: Random, seconds: float) -> Place:
    """Where a client configuration leads to now, with the time that there is."""
    limit = f"timeout={round(seconds)}s"
    if client.get("url"):
        parts = urlsplit(client["url"])
        query = f"{parts.query}&{limit}" if parts.query else limit
        whole = urlunsplit(parts._replace(path=_clean(parts.path), query=query))
        return Place(whole, whole, parts.hostname or "")
    service = client.get("service") or {}
    namespace, name, port = service.get("namespace") or "", service.get("name") or "", service.get("port") or 443
    host = f"{name}.{namespace}.svc"
    path = _clean(service.get("path") or "")
    shown = urlunsplit(("https", f"{host}:{port}", path, limit, ""))
    try:
        address, number = endpoint(registry, namespace, name, port, random)
    except CallError as error:
        raise CallError(f"Post {quoted(shown)}: {error}") from None
    return Place(shown, urlunsplit(("https", with_port(address, number), path, limit, "")), host)


def _clean(path: str) -> str:
    """One slash where there are several, none at the end: a server may lead a POST elsewhere as a GET."""
    return posixpath.normpath("/" + path.lstrip("/"))


def endpoint(registry: Registry, namespace: str, name: str, port: int, random: Random) -> tuple[str, int]:
    """A ready endpoint of a Service's port."""
    services = registry.of("services")
    entry = services.entries.get(f"{namespace}/{name}") if services else None
    if entry is None:
        raise CallError(f"service {quoted(name)} not found")
    spec = entry.tree().get("spec") or {}
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or ""), port
    wanted = next((each for each in spec.get("ports") or () if each.get("port") == port), None)
    if wanted is None:
        raise CallError(f"no service port {port} found for service {quoted(name)}")
    found = sorted(_ready(registry, namespace, name, wanted.get("name") or ""))
    if not found:
        raise CallError(f"no endpoints available for service {quoted(name)}")
    return random.choice(found)


def _ready(registry: Registry, namespace: str, name: str, port: str) -> Iterator[tuple[str, int]]:
    slices = registry.of("endpointslices", "discovery.k8s.io")
    for entry in slices.select(namespace) if slices else ():
        if entry.labels.get(SERVICE_NAME_LABEL) == name:
            yield from _of_slice(entry.tree(), port)


def _of_slice(tree: Tree, port: str) -> Iterator[tuple[str, int]]:
    number = next((each.get("port") for each in tree.get("ports") or () if (each.get("name") or "") == port), None)
    for each in (tree.get("endpoints") or ()) if number else ():
        if is_ready(each) and each.get("addresses"):
            yield each["addresses"][0], int(number or 0)


class Caller:
    """The server's own client for webhooks; connections are kept."""

    def __init__(self, registry: Registry, random: Random) -> None:
        self._registry = registry
        self._random = random
        self._session: aiohttp.ClientSession | None = None
        self._trust: dict[str, ssl.SSLContext] = {}

    async def post(self, client: Tree, review: Tree, seconds: float) -> Tree:
        """The answer to a review."""
        place = place_of(client, self._registry, self._random, seconds)
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.post(
                    place.dialled,
                    data=orjson.dumps(review),
                    headers={"Content-Type": "application/json", "Accept": "application/json", "Host": _host(place)},
                    ssl=self._context(client.get("caBundle") or ""),
                    server_hostname=place.name,
                    allow_redirects=False,
                ) as response,
            ):
                raw = await response.content.read(ANSWER_LIMIT)
                status = response.status
        except TimeoutError:
            raise CallError(f"Post {quoted(place.shown)}: context deadline exceeded") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallError(f"Post {quoted(place.shown)}: {_why(error)}") from None
        return _answer(status, raw)

    def _context(self, bundle: str) -> ssl.SSLContext:
        """Who is believed: the bundle's authorities, or the machine's."""
        if bundle not in self._trust:
            try:
                pem = base64.b64decode(bundle).decode().strip()
            except (binascii.Error, UnicodeDecodeError):
                raise CallError("unable to load root certificates: unable to parse bytes as PEM block") from None
            try:
                self._trust[bundle] = trusting(pem)
            except ssl.SSLError:
                raise CallError("unable to load root certificates: unable to parse bytes as PEM block") from None
            if len(self._trust) > 64:
                self._trust.pop(next(iter(self._trust)))
        return self._trust[bundle]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _host(place: Place) -> str:
    return urlsplit(place.shown).netloc


def _why(error: Exception) -> str:
    """A failed connection as Go tells it, where it has words of its own."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        text = getattr(cause, "verify_message", "") or str(cause)
        if getattr(cause, "verify_code", 0) in (18, 19, 20, 21):
            text = "certificate signed by unknown authority"
        return f"tls: failed to verify certificate: x509: {text}"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        if isinstance(cause, ConnectionRefusedError):
            return f"dial tcp {error.host}:{error.port}: connect: connection refused"
        return f"dial tcp {error.host}:{error.port}: {cause.strerror or cause}"
    if isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionResetError)):
        return "EOF"
    return str(error) or type(error).__name__


def _answer(status: int, raw: bytes) -> Tree:
    if not 200 <= status <= 206:
        text = raw.decode(errors="replace").strip()
        if status in WORDS:
            raise CallError(WORDS[status], status)
        raise CallError(
            f"an error on the server ({quoted(text or 'unknown')}) has prevented the request from succeeding", status
        )
    try:
        found: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise CallError(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(found, Mapping):
        raise CallError("couldn't get version/kind; json parse error: the answer is not an object")
    return dict(found)
