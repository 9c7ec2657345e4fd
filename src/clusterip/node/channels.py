"""The remote command protocol: numbered channels over one WebSocket.

Stage: edge.  In: a WebSocket's messages.  Out: what was typed, resized, ended; output and the final Status back.
Rules: `decode` is pure; the server ends with exactly one Status on the error channel, then the close frame.
Truth: k8s.io/apimachinery remotecommand constants; channel protocols v4 (Status as JSON) and v5 (half close).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.transport.websocket import WebSocket, WebSocketError

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
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
        return _size(content)
    if channel == CLOSE and content[:1] == bytes((STDIN,)):
        return Ended()
    return None


def _size(content: bytes) -> Resized | None:
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


class InputSink(Protocol):
    """Where a client's input goes."""

    async def write(self, content: bytes) -> None: ...

    async def end_input(self) -> None: ...

    def resize(self, rows: int, columns: int) -> None: ...


class Channels:
    """The server's side of one remote command."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def send(self, channel: int, content: bytes) -> None:
        """Output; waits while the client is slow, raises ConnectionError when it is gone."""
        await self._socket.send(bytes((channel,)) + content)

    async def finish(self, status: Tree) -> None:
        """The last word; a client that has gone already does not hear it."""
        try:
            await self.send(ERROR, json.dumps(status).encode())
            await self._socket.close()
        except ConnectionError:
            return

    async def run_input(self, sink: InputSink) -> None:
        """Pass the client's input on until it leaves. Input that nobody takes any more is dropped."""
        try:
            async for message in self._socket.messages():
                event = decode(message.payload)
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
