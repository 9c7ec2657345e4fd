"""WebSocket frames, the server's side.

Stage: edge.  In: bytes of a client.  Out: whole messages; frames for what is sent back.
Rules: the codec does no I/O; a message is bounded; a protocol error ends the connection with its code.
Truth: RFC 6455.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from clusterip.transport import departure

LIMIT = 32 * 1024 * 1024
READ_SIZE = 256 * 1024
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class WebSocketError(Exception):
    """The peer broke the protocol; `code` is for the close frame."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    opcode: Opcode
    payload: bytes


def masked(payload: bytes, mask: bytes) -> bytes:
    """Payload xor mask, repeated; the same way back."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def frame(payload: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    """One unmasked frame, as servers send it."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(code.to_bytes(2, "big") + reason.encode()[:123], Opcode.CLOSE)


class Decoder:
    """Bytes to messages; what is incomplete waits for more."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()
        self._parts: list[bytes] = []
        self._opcode: Opcode | None = None
        self._size = 0

    def feed(self, content: bytes) -> list[Message]:
        self._held += content
        messages = []
        while (found := self._frame()) is not None:
            message = self._joined(*found)
            if message is not None:
                messages.append(message)
        return messages

    def _frame(self) -> tuple[bool, Opcode, bytes] | None:
        """The next whole frame: is it final, its kind, its payload."""
        held = self._held
        if len(held) < 2:
            return None
        size, at = held[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(held) < 2 + width:
                return None
            size, at = int.from_bytes(held[2 : 2 + width], "big"), 2 + width
        self._check(held[0], held[1], size)
        if len(held) < at + 4 + size:
            return None
        payload = masked(bytes(held[at + 4 : at + 4 + size]), bytes(held[at : at + 4]))
        final, opcode = bool(held[0] & 0x80), Opcode(held[0] & 0x0F)
        del held[: at + 4 + size]
        return final, opcode, payload

    def _check(self, first: int, second: int, size: int) -> None:
        if first & 0x70:
            raise WebSocketError(1002, "reserved bits are set")
        if not second & 0x80:
            raise WebSocketError(1002, "a client's frame must be masked")
        if first & 0x0F not in Opcode._value2member_map_:
            raise WebSocketError(1002, "unknown kind of frame")
        if first & 0x08 and (size > 125 or not first & 0x80):
            raise WebSocketError(1002, "a control frame is short and whole")
        if self._size + size > self._limit:
            raise WebSocketError(1009, "message too big")

    def _joined(self, final: bool, opcode: Opcode, payload: bytes) -> Message | None:
        """A message once all its fragments are here; control frames come between fragments."""
        if opcode >= Opcode.CLOSE:
            return Message(opcode, payload)
        if (opcode is Opcode.CONTINUATION) == (self._opcode is None):
            raise WebSocketError(1002, "fragments out of order")
        if self._opcode is None:
            self._opcode = opcode
        self._parts.append(payload)
        self._size += len(payload)
        if not final:
            return None
        message = Message(self._opcode, b"".join(self._parts))
        self._parts, self._opcode, self._size = [], None, 0
        return message


def wants(headers: Mapping[str, str]) -> bool:
    """Whether a request asks for a WebSocket."""
    return headers.get("Upgrade", "").lower() == "websocket" and "Sec-WebSocket-Key" in headers


def choose(headers: Mapping[str, str], spoken: Sequence[str]) -> str | None:
    """The subprotocol that we like best among those that the client offers."""
    offered = {word.strip() for word in headers.get("Sec-WebSocket-Protocol", "").split(",")}
    return next((protocol for protocol in spoken if protocol in offered), None)


def answer(headers: Mapping[str, str], protocol: str | None) -> bytes:
    """The response head that turns the connection into a WebSocket."""
    key = base64.b64encode(hashlib.sha1(headers["Sec-WebSocket-Key"].encode() + _GUID).digest()).decode()
    chosen = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{head}Sec-WebSocket-Accept: {key}\r\n{chosen}\r\n".encode()


class WebSocket:
    """A connection that has become a WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._closed = False

    async def messages(self) -> AsyncIterator[Message]:
        """Text and binary messages until the peer closes or is gone; pings are answered."""
        decoder = Decoder()
        while content := await self._read():
            for message in decoder.feed(content):
                if message.opcode is Opcode.PING:
                    await self._write(frame(message.payload, Opcode.PONG))
                elif message.opcode is Opcode.CLOSE:
                    await self.close(1000)
                    return
                elif message.opcode is not Opcode.PONG:
                    yield message

    async def send(self, payload: bytes, opcode: Opcode = Opcode.BINARY) -> None:
        """Send one message; waits while the peer is slow."""
        if self._closed:
            raise ConnectionResetError("the WebSocket is closed")
        await self._write(frame(payload, opcode))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say that this is all; nothing is sent afterwards."""
        if not self._closed:
            self._closed = True
            await self._write(close_frame(code, reason))

    async def left(self) -> None:
        """Wait until the peer is gone, whether or not its messages are read."""
        await departure.left(self._writer.transport)

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(READ_SIZE)
        except ConnectionError:
            return b""

    async def _write(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()
