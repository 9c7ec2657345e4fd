"""SPDY/3.1 frames, as far as Kubernetes' streams use them.

Stage: edge.  In: bytes of a client.  Out: events; frames for what is sent back.
Rules: no I/O; header blocks of one direction share one compression stream, so frames are decoded and encoded in order;
windows are not kept, as in the library that all clients use.
Truth: SPDY protocol draft 3.1, sections 2.2 (frames), 2.6 (messages); k8s.io/apimachinery httpstream/spdy.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1
LARGEST_HEADERS = 256 * 1024

# The draft's dictionary: names with their lengths, then what else was common in 2012. Its Adler-32 is e3c6a7c2.
_NAMES = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie
keep-alive origin
"""
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Au"
    "thoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidd"
    "en404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr Ma"
    "y Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag"
    "e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicpri"
    "vatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _sized(text: str) -> bytes:
    return struct.pack("!I", len(text)) + text.encode()


DICTIONARY = b"".join(_sized(name.replace("_", " ")) for name in _NAMES.split()) + _REST.encode()


class SpdyError(Exception):
    """The peer broke the protocol."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The client opens a stream."""

    stream: int
    headers: Mapping[str, str]
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes on a stream; `ended` when they are its last."""

    stream: int
    content: bytes
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """The client drops a stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class Pinged:
    """A ping that goes back as it is."""

    number: int


Event = Opened | Content | Reset | Pinged


class Decoder:
    """Bytes to events; what is incomplete waits for more."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, content: bytes) -> list[Event]:
        self._held += content
        events: list[Event] = []
        while len(self._held) >= 8:
            word, rest = struct.unpack_from("!II", self._held)
            flags, length = rest >> 24, rest & 0xFFFFFF
            if len(self._held) < 8 + length:
                break
            payload = bytes(self._held[8 : 8 + length])
            del self._held[: 8 + length]
            if not word & 0x80000000:
                events.append(Content(word, payload, bool(flags & FIN)))
            elif (event := self._control(word >> 16 & 0x7FFF, word & 0xFFFF, flags, payload)) is not None:
                events.append(event)
        return events

    def _control(self, version: int, kind: int, flags: int, payload: bytes) -> Event | None:
        if version != VERSION:
            raise SpdyError(f"version {version} is not spoken here")
        try:
            if kind == SYN_STREAM:
                return Opened(_number(payload), self._headers(payload[10:]), bool(flags & FIN))
            if kind in (SYN_REPLY, HEADERS):
                self._headers(payload[4:])  # keeps the compression stream whole
                return None
            if kind == RST_STREAM:
                return Reset(_number(payload))
            return Pinged(struct.unpack_from("!I", payload)[0]) if kind == PING else None
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a frame of kind {kind} cannot be read: {error}") from error

    def _headers(self, block: bytes) -> Mapping[str, str]:
        plain = self._inflate.decompress(block, LARGEST_HEADERS)
        if self._inflate.unconsumed_tail:
            raise SpdyError("headers are too long")
        (count,) = struct.unpack_from("!I", plain)
        texts, at = [], 4
        for _ in range(2 * count):
            (size,) = struct.unpack_from("!I", plain, at)
            if at + 4 + size > len(plain):
                raise SpdyError("headers are cut off")
            texts.append(plain[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return dict(zip(map(str.lower, texts[::2]), texts[1::2], strict=True))


def _number(payload: bytes) -> int:
    return int(struct.unpack_from("!I", payload)[0]) & 0x7FFFFFFF


class Encoder:
    """What is sent, as frames."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def opened(self, stream: int, headers: Mapping[str, str]) -> bytes:
        """A stream of our own; servers send none, tests play clients with it."""
        return _frame(SYN_STREAM, 0, struct.pack("!IIH", stream, 0, 0) + self._block(headers))

    def reply(self, stream: int) -> bytes:
        """The stream is taken."""
        return _frame(SYN_REPLY, 0, struct.pack("!I", stream) + self._block({}))

    def content(self, stream: int, content: bytes, *, ended: bool = False) -> bytes:
        return struct.pack("!II", stream, (FIN if ended else 0) << 24 | len(content)) + content

    def reset(self, stream: int) -> bytes:
        """The stream is refused or dropped (status CANCEL)."""
        return _frame(RST_STREAM, 0, struct.pack("!II", stream, 5))

    def ping(self, number: int) -> bytes:
        return _frame(PING, 0, struct.pack("!I", number))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        pairs = b"".join(_sized(name) + _sized(value) for name, value in headers.items())
        plain = struct.pack("!I", len(headers)) + pairs
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack("!II", 0x80000000 | VERSION << 16 | kind, flags << 24 | len(payload)) + payload
