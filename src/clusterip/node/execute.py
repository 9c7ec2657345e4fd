"""Exec: one command for one client, from its first byte to its Status.

Stage: edge.  In: a container, the client's channels.  Out: bytes both ways, an exit code.
Rules: a client that leaves ends its command, never the container; why the runtime refused is told once, in the Status.
Truth: the kubelet's words for a command that could not be run.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from clusterip.node import channels as remote
from clusterip.node.channels import Client
from clusterip.node.commands import Running, Start, StreamOptions, entered, first_channel, start_of
from clusterip.node.lookup import ContainerRef

RUNTIME_WORDS = b"exec failed: "  # how the runtime begins to say on stderr why it did not start a command


async def run_exec(ref: ContainerRef, options: StreamOptions, client: Client) -> None:
    """Run one command for one client, from its first byte to its Status."""
    with tempfile.TemporaryDirectory(prefix="clusterip-exec-") as name:
        start = start_of(ref, options, Path(name))
        try:
            async with entered(ref, start, options) as running:
                await client.send(first_channel(options), b"")  # says that the connection stands
                code = await _relay(running, start, options, client)
        except OSError as error:
            if isinstance(error, ConnectionError):
                return
            await client.finish(remote.failed(f"error executing command in container: {error}"))
            return
        refusal = start.refusal() if code else None
        status = remote.failed(f"error executing command in container: {refusal}") if refusal else remote.exited(code)
        await client.finish(status)


async def _relay(running: Running, start: Start, options: StreamOptions, client: Client) -> int:
    """Both ways until the command has ended and all that it wrote is sent."""
    wanted = {remote.STDOUT: options.stdout, remote.STDERR: options.stderr and not options.tty}
    async with asyncio.TaskGroup() as group:
        typing = group.create_task(_type(running, client), name="exec input")
        pumps = [
            group.create_task(
                _pump(_of_command(read, start), channel, wanted[channel], running, client),
                name=f"exec output {channel}",
            )
            for channel, read in running.outputs
        ]
        code = await running.wait()
        await asyncio.gather(*pumps)
        typing.cancel()
    return code


async def _type(running: Running, client: Client) -> None:
    await client.run_input(running)
    running.leave()


def _of_command(read: Callable[[], Awaitable[bytes]], start: Start) -> Callable[[], Awaitable[bytes]]:
    """The output without the runtime's own words: why it refused is told once, in the Status."""
    begun = False

    async def of_command() -> bytes:
        nonlocal begun
        content, first, begun = await read(), not begun, True
        if not (first and start.by_runtime and content.startswith(RUNTIME_WORDS)):
            return content
        while more := await read():
            content += more
        return b"" if start.refusal() else content

    return of_command


async def _pump(
    read: Callable[[], Awaitable[bytes]], channel: int, wanted: bool, running: Running, client: Client
) -> None:
    """One output to its channel; what is not wanted is read all the same, so that the command does not block."""
    while content := await read():
        if not wanted:
            continue
        try:
            await client.send(channel, content)
        except ConnectionError:
            running.leave()
            wanted = False
