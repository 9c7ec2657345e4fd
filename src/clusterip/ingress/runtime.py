"""HAProxy's run-time API: a question, an answer, over its socket.

Stage: edge.  In: commands.  Out: answers.  Rules: every wait has a clock; a socket that is away raises OSError.
Truth: HAProxy 2.6's management guide, section 9.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from clusterip.ingress.endpoints import Address

SECONDS = 5.0
BATCH = 50  # commands of one line; HAProxy's line has a limit


class Refused(OSError):
    """HAProxy did not do what it was told."""


async def ask(path: Path, command: str) -> str:
    """The answer to one line."""
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_unix_connection(str(path))
        try:
            writer.write(f"{command}\n".encode())
            await writer.drain()
            return (await reader.read(-1)).decode(errors="replace").strip()
        finally:
            writer.close()


async def set_servers(path: Path, backend: str, changes: Sequence[tuple[int, Address | None]]) -> None:
    """Fill and empty slots."""
    commands = [command for index, held in changes for command in _commands(f"{backend}/s{index}", held)]
    for first in range(0, len(commands), BATCH):
        answer = await ask(path, ";".join(commands[first : first + BATCH]))
        if wrong := [line for line in answer.splitlines() if "No such" in line or "nvalid" in line]:
            raise Refused(f"{backend}: {wrong[0]}")


def _commands(server: str, held: Address | None) -> list[str]:
    if held is None:
        return [f"set server {server} state maint"]
    return [f"set server {server} addr {held[0]} port {held[1]}", f"set server {server} state ready"]


async def set_certificate(path: Path, name: str, pem: bytes) -> None:
    """Serve another certificate under the name of one that is loaded."""
    text = "\n".join(line for line in pem.decode().splitlines() if line)
    answers = [await ask(path, f"set ssl cert {name} <<\n{text}\n"), await ask(path, f"commit ssl cert {name}")]
    if "Success" not in answers[1]:
        raise Refused(f"{name}: {' '.join(answers)}")
