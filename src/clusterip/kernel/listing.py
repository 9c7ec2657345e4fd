"""What the kernel's rules look like to a person: the listings of nft and iptables-save, of any network namespace.

Stage: read.  In: a process whose network is meant, a command.  Out: text.  Rules: nothing is changed; every run has a
clock; a program that is missing or refuses is a ListingError with its own words.
Truth: nsenter(1), nft(8), iptables-save(8).
"""

from __future__ import annotations

import asyncio

PATIENCE_SECONDS = 30.0


class ListingError(Exception):
    """The rules cannot be listed."""


async def listing(pid: int, *command: str) -> str:
    """What the command prints in the network of that process."""
    pipe = asyncio.subprocess.PIPE
    words = ("nsenter", f"--net=/proc/{pid}/ns/net", *command)
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, close_fds=True
        )
    except OSError as error:
        raise ListingError(f"cannot run nsenter: {error.strerror}") from error
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, trouble = await process.communicate()
    except BaseException as error:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if isinstance(error, TimeoutError):
            raise ListingError(f"{command[0]} did not answer within {PATIENCE_SECONDS:g} s") from error
        raise
    if process.returncode:
        said = " ".join(trouble.decode(errors="replace").split())
        raise ListingError(f"{' '.join(command)}: {said or f'exit code {process.returncode}'}")
    return output.decode(errors="replace")
