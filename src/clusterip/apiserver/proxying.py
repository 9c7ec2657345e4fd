"""The proxy of pods, Services and nodes: a request to the API server goes on to them, and their answer comes back.

Stage: shell.  In: a Call for one of them and the path behind it.  Out: the backend's answer, as it comes.
Rules: whose credentials it was stays here; places that an answer names under its root get this path before them; an
       upgrade is relayed raw both ways; what TLS certificate a backend shows is not looked at, but a node agent's is;
       a request's body goes on while its answer comes, until that ends.
Truth: kube-apiserver's registry/core/{pod,service,node} ResourceLocation; apimachinery's util/proxy.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from clusterip.api.addresses import with_port
from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree
from clusterip.apiserver import frontproxy, relay
from clusterip.apiserver.core import Call, Core, pick
from clusterip.transport.answers import Answer, Response, Sink, Stream, Takeover, framed
from clusterip.transport.request import Request

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: randomness is a parameter

SCHEMES: Final = ("", "http", "https")
ANSWER_SECONDS: Final = 3600.0  # until a backend begins to answer
HTML_LIMIT: Final = 8 * 1024 * 1024
HOP: Final = frozenset(
    {
        "connection",
        "proxy-connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
OURS: Final = frozenset({"authorization", "content-length", "expect"})
BODILESS: Final = (204, 304)
LINKS: Final = re.compile(
    rb"""(<[a-zA-Z][^<>]*?\s(?:href|src|action|formaction|data|poster|cite)\s*=\s*["'])(/[^"'<>]*)"""
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes: tls None is plain text, True a backend's own, False a node agent's."""

    host: str
    port: int
    scheme: str
    is_agent: bool = False

    @property
    def authority(self) -> str:
        return with_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Sent:
    """What is sent on: the path behind the proxy, the path before it, and where the caller thinks it is."""

    request: Request
    path: str
    before: str
    query: str
    added: tuple[tuple[str, str], ...] = ()
    """Headers that only this server may set."""

    @property
    def host(self) -> str:
        return str(self.request.headers.get("Host", ""))

    @property
    def target(self) -> str:
        return (self.path or "/") + (f"?{self.query}" if self.query else "")


# --- where to --------------------------------------------------------------------------------------------------------


def split(text: str) -> tuple[str, str, str] | None:
    """Scheme, name and port of `name`, `name:port`, `scheme:name:port`."""
    parts = text.split(":")
    if len(parts) > 3:
        return None
    scheme, name, port = ("", *parts, "")[:3] if len(parts) < 3 else parts
    return (scheme, name, port) if name and scheme in SCHEMES else None


def place(core: Core, call: Call) -> Place:
    """Where the backend of a call is."""
    plural = call.served.resource.plural
    found = split(call.name)
    if found is None:
        raise ApiError.bad_request(f"invalid {plural.removesuffix('s')} request {quoted(call.name)}")
    return {"pods": _pod, "services": _service, "nodes": _node}[plural](core, call, *found)


def _tree(core: Core, plural: str, key: str) -> Tree:
    collection = core.registry.of(plural)
    entry = collection.entries.get(key) if collection else None
    if entry is None:
        raise ApiError.not_found("", plural, key.rpartition("/")[2])
    return entry.tree()


def _port(text: str, scheme: str) -> int:
    if text and not (text.isdigit() and 0 < int(text) < 65536):
        raise ApiError.service_unavailable(f"error trying to reach service: invalid port {quoted(text)}")
    return int(text) if text else 443 if scheme == "https" else 80


def _pod(core: Core, call: Call, scheme: str, name: str, port: str) -> Place:
    pod = _tree(core, "pods", f"{call.namespace}/{name}")
    declared = (each for one in pick(pod, "spec", "containers") or () for each in one.get("ports") or ())
    port = port or str(next((each["containerPort"] for each in declared), ""))
    address = pick(pod, "status", "podIP", default="") or ""
    if not _is_global(address):
        raise ApiError.bad_request("address not allowed")
    return Place(address, _port(port, scheme), scheme or "http")


def _is_global(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def _service(core: Core, call: Call, scheme: str, name: str, port: str) -> Place:
    if port.isdigit():
        service = _tree(core, "services", f"{call.namespace}/{name}")
        named = [each.get("name") or "" for each in pick(service, "spec", "ports") or () if each["port"] == int(port)]
        if not named:
            raise ApiError.service_unavailable(f"no service port {port} found for service {quoted(name)}")
        port = named[0]
    collection = core.registry.of("endpoints")
    entry = collection.entries.get(f"{call.namespace}/{name}") if collection else None
    if entry is None:
        raise ApiError.not_found("", "services", name)  # upstream's words for missing Endpoints
    subsets = entry.tree().get("subsets") or []
    if not subsets:
        raise ApiError.service_unavailable(f"no endpoints available for service {quoted(name)}")
    chosen = next(_backends(core, call.namespace, subsets, port, core.random), None)
    if chosen is None:
        raise ApiError.service_unavailable(f"no endpoints available for service {quoted(call.name)}")
    return Place(*chosen, scheme or "http")


def _backends(core: Core, namespace: str, subsets: list[Tree], port: str, random: Random) -> Iterator[tuple[str, int]]:
    """Addresses that are truly pods', in a random order."""
    for subset in random.sample(subsets, len(subsets)):
        addresses = subset.get("addresses") or []
        numbers = [each["port"] for each in subset.get("ports") or () if (each.get("name") or "") == port]
        for address in random.sample(addresses, len(addresses)) if numbers else ():
            if _is_pods(core, namespace, address):
                yield address["ip"], numbers[0]


def _is_pods(core: Core, namespace: str, address: Tree) -> bool:
    reference = address.get("targetRef") or {}
    pods = core.registry.of("pods")
    entry = pods.entries.get(f"{namespace}/{reference.get('name')}") if pods else None
    if entry is None or reference.get("namespace") != namespace:
        return False
    return any(each.get("ip") == address["ip"] for each in pick(entry.tree(), "status", "podIPs") or ())


def _node(core: Core, call: Call, scheme: str, name: str, port: str) -> Place:
    host, agent = relay.address(core, name)
    if port in ("", str(agent)):
        return Place(host, agent, "https", is_agent=True)
    return Place(host, _port(port, scheme), scheme or "http")


# --- there and back --------------------------------------------------------------------------------------------------


async def proxy(core: Core, call: Call) -> Answer:
    """The backend's answer."""
    sent = _sent(call)
    where = place(core, call)
    if not sent.path and call.request.method in ("GET", "HEAD") and not call.request.wants_upgrade:
        query = f"?{sent.query}" if sent.query else ""
        return Response(301, b"", headers=[("Location", f"{call.request.path}/{query}")])
    try:
        reader, writer = await _connected(core, where)
    except (OSError, TimeoutError) as error:
        raise _unreachable(where, error) from None
    return await relayed(sent, where, reader, writer)


async def relayed(sent: Sent, where: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    """The answer over a connection that stands; ApiError 503 when none comes."""
    if sent.request.wants_upgrade:
        writer.write(_head(sent, where, upgrades=True))
        return Takeover(relay.both_ways(reader, writer))
    sending = asyncio.ensure_future(_send(sent, where, writer))
    backend = Backend(reader, writer, sending)
    try:
        status, headers = await _begun(reader)
    except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
        await backend.close()
        raise _unreachable(where, error) from None
    except BaseException:
        await backend.close()
        raise
    return await _answer(sent, where, status, headers, backend)


def _sent(call: Call) -> Sent:
    """The path as it was sent, cut behind the word proxy; a slash at its end stays."""
    path, _, query = call.request.target.partition("?")
    parts = path.split("/")
    words = [number for number, part in enumerate(parts) if part]
    last = words[6 if call.served.resource.namespaced else 4]
    rest = parts[last + 1 :]
    return Sent(call.request, "/" + "/".join(rest) if rest else "", "/".join(parts[: last + 1]), query)


async def _connected(core: Core, where: Place) -> relay.Streams:
    if where.is_agent:
        if core.dialer is None:
            raise ApiError.service_unavailable("this API server has no way to its nodes")
        return await core.dialer(where.host, where.port)
    context = None
    if where.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(relay.CONNECT_SECONDS):
        return await asyncio.open_connection(where.host, where.port, ssl=context, limit=relay.HEAD_LIMIT)


def _unreachable(where: Place, error: Exception) -> ApiError:
    why = getattr(error, "strerror", None) or str(error) or "EOF"
    if isinstance(error, ConnectionRefusedError):
        why = f"dial tcp {where.authority}: connect: connection refused"
    elif isinstance(error, TimeoutError):
        why = f"dial tcp {where.authority}: i/o timeout"
    return ApiError.service_unavailable(f"error trying to reach service: {why}")


def _head(sent: Sent, where: Place, *, upgrades: bool = False) -> bytes:
    """The request for the backend."""
    hidden = OURS if upgrades else OURS | HOP
    kept = [(name, value) for name, value in _items(sent.request) if not _is_hidden(name.lower(), hidden)]
    through = posixpath.normpath(sent.before + sent.path) + ("/" if sent.path.endswith("/") else "")
    kept += [("X-Forwarded-Uri", through), *sent.added]
    if not upgrades:
        kept.append(("Connection", "close"))
        length = sent.request.headers.get("Content-Length")
        if length is not None:
            kept.append(("Content-Length", length))
        elif "Transfer-Encoding" in sent.request.headers:
            kept.append(("Transfer-Encoding", "chunked"))
    lines = [f"{sent.request.method} {sent.target} HTTP/1.1", *(f"{name}: {value}" for name, value in kept)]
    if not sent.host:
        lines.insert(1, f"Host: {where.authority}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _items(request: Request) -> Iterable[tuple[str, str]]:
    return request.headers.items()


def _is_hidden(name: str, hidden: frozenset[str]) -> bool:
    return name in hidden or name.startswith(
        ("impersonate-", frontproxy.PREFIX, "x-forwarded-uri", "x-forwarded-host", "x-forwarded-proto")
    )


@dataclass(frozen=True, slots=True)
class Backend:
    """A connection that was asked, and what still goes to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sending: asyncio.Future[None]

    async def close(self) -> None:
        """The answer is over: what was not sent is not."""
        self.sending.cancel()
        await asyncio.gather(self.sending, return_exceptions=True)
        self.writer.close()


async def _begun(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]]]:
    """The answer's head."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            status, headers = await relay.read_head(reader)
            if status >= 200:
                return status, headers


async def _send(sent: Sent, where: Place, writer: asyncio.StreamWriter) -> None:
    """The request, as it comes."""
    request = sent.request
    writer.write(_head(sent, where))
    chunked = "Content-Length" not in request.headers and "Transfer-Encoding" in request.headers
    async for piece in request.pieces():
        writer.write(framed(piece) if chunked else piece)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")


async def _answer(
    sent: Sent,
    where: Place,
    status: int,
    headers: list[tuple[str, str]],
    backend: Backend,
) -> Answer:
    named = {name.lower(): value for name, value in headers}
    media = named.get("content-type", "text/plain; charset=utf-8")
    kept = [
        (name, rewritten(sent, where, value) if name.lower() == "location" else value)
        for name, value in headers
        if name.lower() not in (*HOP, "content-type", "content-length", "date")
    ]
    if status in BODILESS:
        await backend.close()
        return Response(status, b"", media, kept)
    if media.partition(";")[0].strip() == "text/html" and "content-encoding" not in named:
        return await _html(sent, where, Response(status, b"", media, kept), named, backend)

    async def run(sink: Sink) -> None:
        try:
            async for piece in relay.body(backend.reader, named):
                sink.write(framed(piece))
                await sink.drain()
        except (EOFError, ConnectionError):
            sink.abort()  # the caller must not take what came for the whole
        finally:
            await backend.close()

    if sent.request.method == "HEAD":
        await backend.close()
    return Stream(run, status, media, kept)


async def _html(
    sent: Sent,
    where: Place,
    answer: Response,
    named: dict[str, str],
    backend: Backend,
) -> Answer:
    """A page, with its links led through here."""
    pieces, size = [], 0
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            async for piece in relay.body(backend.reader, named) if sent.request.method != "HEAD" else _none():
                pieces.append(piece)
                size += len(piece)
                if size > HTML_LIMIT:
                    raise ApiError.service_unavailable("error trying to reach service: the page is too large")
    except (OSError, EOFError, TimeoutError) as error:
        raise _unreachable(where, error) from None
    finally:
        await backend.close()

    def through(found: re.Match[bytes]) -> bytes:
        return found[1] + rewritten(sent, where, found[2].decode("latin-1")).encode("latin-1")

    answer.body = LINKS.sub(through, b"".join(pieces))
    return answer


async def _none() -> relay.Pieces:
    return
    yield b""


def rewritten(sent: Sent, where: Place, link: str) -> str:
    """A place that a backend names, as the caller reaches it: by a path, from wherever he thinks that this is."""
    parts = urlsplit(link)
    other = parts.netloc and parts.netloc not in (where.authority, where.host, sent.host)
    if other or not parts.path.startswith("/"):
        return link
    path = parts.path
    if not path.startswith(sent.before):
        path = posixpath.normpath(f"{sent.before}/{parts.path}") + ("/" if parts.path.endswith("/") else "")
    origin = (parts.scheme, parts.netloc) if parts.netloc == sent.host else ("", "")
    return urlunsplit((*origin, path, parts.query, parts.fragment))
