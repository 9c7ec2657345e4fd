"""This server's own way to another API server: a connection at an endpoint of its Service, and plain questions.

Stage: shell.  In: a Remote.  Out: streams, or an answer's status, headers and body; OSError and CallError where not.
Rules: its certificate must show the Service's name and be signed by the authority that its APIService names; this
       server shows itself as a front proxy; every question has a limit in time and size.
Truth: kube-aggregator's pkg/controllers/status/remote (BuildTransportConfig).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from dataclasses import dataclass, field

from clusterip.api.addresses import with_port
from clusterip.apiserver import frontproxy, relay
from clusterip.apiserver.access import User
from clusterip.apiserver.core import Core
from clusterip.apiserver.remotes import Remote
from clusterip.apiserver.webhooks_calling import CallError, endpoint
from clusterip.transport.certificates import KeyPair, load_pair
from clusterip.transport.tls import trusting

ANSWER_SECONDS = 5.0
ANSWER_LIMIT = 32 * 1024 * 1024
NO_BUNDLE = "unable to load root certificates: unable to parse bytes as PEM block"


@dataclass(frozen=True, slots=True)
class Told:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Line:
    """Where a connection leads, for texts."""

    authority: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass(slots=True)
class Lines:
    """Connections to other API servers."""

    core: Core
    pair: KeyPair
    """How this server shows itself."""
    _contexts: dict[tuple[str, bool], ssl.SSLContext] = field(default_factory=dict)

    def place(self, remote: Remote) -> tuple[str, int]:
        """A ready endpoint; CallError when there is none."""
        core = self.core
        return endpoint(core.registry, remote.namespace, remote.service, remote.port, core.random)

    async def open(self, remote: Remote) -> Line:
        host, port = self.place(remote)
        async with asyncio.timeout(relay.CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=self.context(remote), server_hostname=remote.host, limit=relay.HEAD_LIMIT
            )
        return Line(with_port(host, port), reader, writer)

    def context(self, remote: Remote) -> ssl.SSLContext:
        """Who is believed: the bundle's authorities, or the machine's, or anybody."""
        key = (remote.bundle, remote.insecure)
        if key not in self._contexts:
            if len(self._contexts) >= 64:
                self._contexts.pop(next(iter(self._contexts)))
            self._contexts[key] = self._context(*key)
        return self._contexts[key]

    def _context(self, bundle: str, insecure: bool) -> ssl.SSLContext:
        try:
            pem = base64.b64decode(bundle).decode().strip()
            context = trusting(pem)
        except (binascii.Error, UnicodeDecodeError, ssl.SSLError):
            raise CallError(NO_BUNDLE) from None
        if insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        load_pair(context, self.pair)
        return context

    async def ask(self, remote: Remote, path: str, user: User, **headers: str) -> Told:
        """The answer to a GET; within seconds, or TimeoutError."""
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await self.open(remote)
            try:
                line.writer.write(_question(path, remote.host, user, headers))
                status, pairs = await relay.read_head(line.reader)
                named = {name.lower(): value for name, value in pairs}
                return Told(status, named, await _body(line.reader, named) if status != 304 else b"")
            finally:
                line.writer.close()


def _question(path: str, host: str, user: User, headers: dict[str, str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", "User-Agent: clusterip"]
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    lines += [f"{name}: {value}" for name, value in [*pairs, *frontproxy.headers(user)] if value]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    pieces, size = [], 0
    async for piece in relay.body(reader, headers):
        pieces.append(piece)
        size += len(piece)
        if size > ANSWER_LIMIT:
            raise ValueError(f"the answer has more than {ANSWER_LIMIT} bytes")
    return b"".join(pieces)


def why(error: BaseException, authority: str = "") -> str:
    """A failed connection as Go tells it, where it has words of its own."""
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {authority}: connect: connection refused" if authority else "connect: connection refused"
    if isinstance(error, ssl.SSLCertVerificationError):
        unknown = error.verify_code in (18, 19, 20, 21)
        text = "certificate signed by unknown authority" if unknown else error.verify_message
        return f"tls: failed to verify certificate: x509: {text}"
    if isinstance(error, TimeoutError):
        return "context deadline exceeded"
    if isinstance(error, (EOFError, ConnectionResetError)):
        return "EOF"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
