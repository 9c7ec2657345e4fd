"""A request as handlers see it: its head, its parameters, its body within a limit and a time.

Stage: edge; below http.py.  In: what a parser made of bytes.  Out: a Request, which shows no library's type.
Truth: RFC 9112; RFC 9110, 100-continue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl, unquote

from multidict import CIMultiDict

from clusterip.transport.express import Whole
from clusterip.transport.httplibrary import BaseRequest, HttpProcessingError, RequestPayloadError

BODY_SECONDS = 60.0  # for a whole body to arrive


class BodyTooLarge(Exception):
    """A request's body is over the limit that the handler set."""


class BodyBroken(Exception):
    """A request's body is not what its head said, or did not come in time."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end: the address, and the subject of a checked client certificate."""

    address: str = ""
    common_name: str = ""
    organizations: tuple[str, ...] = ()
    expires: float = 0.0
    """When the certificate is no longer good, in seconds since 1970."""


class Sizes(Protocol):
    """Takes numbers."""

    def append(self, size: int, /) -> None: ...

    def extend(self, sizes: Iterable[int], /) -> None: ...


NO_SIZES: Sizes = deque(maxlen=0)


class Request:
    """One request. `target` is the path and query as sent; `path` is decoded by segment."""

    __slots__ = (
        "_query",
        "_raw",
        "begun",
        "headers",
        "lead",
        "method",
        "peer",
        "received",
        "sizes",
        "target",
        "wants_upgrade",
    )

    def __init__(self, raw: BaseRequest | Whole, peer: Peer) -> None:
        self._raw = raw
        self._query: dict[str, str] | None = None
        self.method: str = raw.method
        self.target: str = raw.raw_path
        self.headers: Mapping[str, str] = raw.headers
        if getattr(raw.protocol, "has_odd_heads", False):
            self.headers = _readable(raw.headers)
        self.peer = peer
        self.wants_upgrade = "Upgrade" in self.headers
        self.lead = b""
        """Header lines that the answer carries, whatever it is."""
        self.begun: Callable[[], None] = _nothing
        """To be called when an answer that stays open has begun."""
        self.sizes: Sizes = NO_SIZES
        """Where an answer of many parts says how long each was."""
        self.received = b""
        """The body, once it was read."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def segments(self) -> list[str]:
        """The path's parts, decoded; a slash in a part stays in it."""
        path = self.path
        parts = [part for part in path.split("/") if part]
        return [unquote(part) for part in parts] if "%" in path else parts

    @property
    def query(self) -> Mapping[str, str]:
        """Parameters; of a repeated one the first."""
        if self._query is None:
            text = self.target.partition("?")[2]
            pairs = parse_qsl(text, keep_blank_values=True) if text else []
            self._query = dict(reversed(pairs))
        return self._query

    def values(self, name: str) -> list[str]:
        """All values of a parameter, in order."""
        if name not in self.query:
            return []
        return [value for key, value in parse_qsl(self.target.partition("?")[2], keep_blank_values=True) if key == name]

    async def body(self, limit: int) -> bytes:
        """The whole body; BodyTooLarge when it is longer than the limit, BodyBroken when it does not come whole."""
        raw = self._raw
        if isinstance(raw, Whole):
            if len(raw.body) > limit:
                raise BodyTooLarge
            self.received = raw.body
            return self.received
        if not raw.can_read_body:
            return b""
        if (raw.content_length or 0) > limit:
            raise BodyTooLarge
        if "Expect" in self.headers and raw.transport is not None and self.headers["Expect"].lower() == "100-continue":
            raw.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                self.received = await _whole(raw, limit)
        except (RequestPayloadError, HttpProcessingError) as error:
            raise BodyBroken(str(error).partition("\n")[0]) from error
        except TimeoutError:
            raise BodyBroken(f"it did not arrive within {BODY_SECONDS:.0f} seconds") from None
        return self.received

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        raw = self._raw
        if isinstance(raw, Whole):
            yield raw.body
        elif raw.can_read_body:
            while piece := await raw.content.readany():
                yield piece


async def _whole(raw: BaseRequest, limit: int) -> bytes:
    parts, size = [], 0
    while chunk := await raw.content.readany():
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _nothing() -> None:
    """Nobody waits for this."""


def _readable(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers without what is no text: it could be put into no answer."""
    pairs = ((name, value.encode(errors="replace").decode()) for name, value in headers.items())
    return CIMultiDict(pairs)
