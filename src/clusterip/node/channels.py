"""The remote command protocol: numbered channels over one WebSocket.

Stage: edge.  In: a WebSocket's messages.  Out: what was typed, resized, ended; output and the final Status back.
Rules: `decode` is pure; the server ends with exactly one Status on the error channel, then the close frame.
Truth: k8s.io/apimachinery remotecommand constants; channel protocols before v4 (the error as text), v4 (Status as JSON)
and v5 (half close); those named base64 carry text.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.transport import departure
from clusterip.transport.websocket import Opcode, WebSocket, WebSocketError

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "base64.channel.k8s.io",
    "channel.k8s.io",
)
STATUS_AS_JSON = ("v5.", "v4.")
NON_ZERO = "NonZeroExitCode"


@dataclass(frozen=True, slots=True)
class Typed:
    content: bytes


@dataclass(frozen=True, slots=True)
class Resized:
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The client's standard input is over."""


Input = Typed | Resized | Ended


def decode(message: bytes) -> Input | None:
    """What a client's message says; None for what asks for nothing."""
    if not message:
        return None
    channel, content = message[0], message[1:]
    if channel == STDIN:
        return Typed(content) if content else None
    if channel == RESIZE:
        return resized(content)
    if channel == CLOSE and content[:1] == bytes((STDIN,)):
        return Ended()
    return None


def resized(content: bytes) -> Resized | None:
    """A terminal's new size; None for what says none."""
    try:
        tree: Any = json.loads(content)
        rows, columns = int(tree["Height"]), int(tree["Width"])
    except (ValueError, KeyError, TypeError):
        return None
    return Resized(rows, columns) if 0 < rows < 65536 and 0 < columns < 65536 else None


def exited(code: int) -> Tree:
    """The Status of a command that has ended with this code."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": NON_ZERO,
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failed(text: str) -> Tree:
    """The Status of a command that could not be run."""
    return ApiError.internal(text).status()


def last_word(status: Tree, protocol: str) -> bytes:
    """A Status as the protocol says it: older ones have only the text of a failure."""
    if protocol.startswith(STATUS_AS_JSON):
        return json.dumps(status).encode()
    return b"" if status["status"] == "Success" else str(status.get("message", "")).encode()


def packed(channel: int, content: bytes, *, is_text: bool) -> tuple[bytes, Opcode]:
    """A message of one channel."""
    if is_text:
        return b"%d" % channel + base64.b64encode(content), Opcode.TEXT
    return bytes((channel,)) + content, Opcode.BINARY


def unpacked(message: bytes, *, is_text: bool) -> bytes:
    """A message as its channel's number and content; empty for what is none."""
    if not is_text:
        return message
    try:
        return bytes((message[0] - ord("0"),)) + base64.b64decode(message[1:])
    except (ValueError, IndexError, binascii.Error):
        return b""


async def messages(socket: WebSocket, *, is_text: bool) -> AsyncIterator[tuple[int, bytes]]:
    """What a client sends, by channel."""
    async for message in socket.messages():
        if plain := unpacked(message.payload, is_text=is_text):
            yield plain[0], plain[1:]


class Client(Protocol):
    """One remote command's client, over whatever carries it."""

    async def send(self, channel: int, content: bytes) -> None: ...

    async def finish(self, status: Tree) -> None: ...

    async def run_input(self, sink: InputSink) -> None: ...


class InputSink(Protocol):
    """Where a client's input goes."""

    async def write(self, content: bytes) -> None: ...

    async def end_input(self) -> None: ...

    def resize(self, rows: int, columns: int) -> None: ...


class Channels:
    """The server's side of one remote command over a WebSocket."""

    def __init__(self, socket: WebSocket, protocol: str = PROTOCOLS[0]) -> None:
        self._socket = socket
        self._protocol = protocol
        self._is_text = "base64" in protocol

    async def send(self, channel: int, content: bytes) -> None:
        """Output; waits while the client is slow, raises ConnectionError when it is gone."""
        await self._socket.send(*packed(channel, content, is_text=self._is_text))

    async def finish(self, status: Tree) -> None:
        """The last word; a client that has gone already does not hear it."""
        try:
            if word := last_word(status, self._protocol):
                await self.send(ERROR, word)
            await self._socket.close()
        except ConnectionError:
            return

    async def run_input(self, sink: InputSink) -> None:
        """Pass the client's input on until it leaves. Input that nobody takes any more is dropped."""
        await departure.while_there(self._pass_on(sink), self._socket.left())

    async def _pass_on(self, sink: InputSink) -> None:
        try:
            async for message in self._socket.messages():
                event = decode(unpacked(message.payload, is_text=self._is_text))
                if isinstance(event, Resized):
                    sink.resize(event.rows, event.columns)
                    continue
                try:
                    if isinstance(event, Typed):
                        await sink.write(event.content)
                    elif isinstance(event, Ended):
                        await sink.end_input()
                except (OSError, RuntimeError):
                    continue  # the command has closed its input or ended; its output still matters
        except WebSocketError as error:
            await self._socket.close(error.code, str(error))
        except ConnectionError:
            return
