"""A whole table as text, put in the place of the former one in one transaction.

Stage: commit.  In: the text that the program `nft` reads.  Out: the kernel's table.
Rules: for small tables that are written anew each time; large ones go by netlink (nft_kernel.py).  Truth: nft(8).
"""

from __future__ import annotations

import asyncio

from clusterip.kernel.nft import NftError

SECONDS = 60.0


async def apply(script: str, command: tuple[str, ...] = ("nft",)) -> None:
    """All of the script or nothing; NftError says why not."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*command, "-f", "-", stdin=pipe, stderr=pipe)
    except OSError as error:
        raise NftError(f"cannot run {command[0]}: {error.strerror}; install nftables") from error
    try:
        async with asyncio.timeout(SECONDS):
            _, trouble = await process.communicate(script.encode())
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        if isinstance(error, TimeoutError):
            raise NftError(f"nft did not answer within {SECONDS:g} s") from error
        raise
    if process.returncode:
        raise NftError(trouble.decode(errors="replace").strip() or f"nft ended with {process.returncode}")
