"""Kernel modules: load them by name.

Stage: kernel.  In: names.  Out: what `modprobe` said when it could not.
Rules: a module that is built in, or loaded, is no error; a machine without modprobe has what it has.
Truth: modprobe(8) of kmod.
"""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 30.0


async def load(*names: str) -> str:
    """Load the modules; empty when modprobe was content, else its words in one line."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            "modprobe", "-a", "--", *names, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        return f"cannot run modprobe: {error.strerror}"
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, trouble = await process.communicate()
    except TimeoutError:
        process.kill()
        return f"modprobe did not end within {PATIENCE_SECONDS:g} s"
    words = "; ".join(line.strip() for line in trouble.decode(errors="replace").splitlines() if line.strip())
    return (words or f"modprobe ended with {process.returncode}") if process.returncode else ""


def load_now(name: str, loaded: Path = Path("/sys/module")) -> None:
    """Load a module unless it is loaded; whoever needs it sees whether it is there."""
    if (loaded / name).exists():
        return
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["modprobe", "-q", "--", name], check=False, timeout=PATIENCE_SECONDS)


def is_at_hand(name: str, loaded: Path = Path("/sys/module")) -> bool:
    """Whether a module is loaded, built in, or would be found; nothing is loaded."""
    if (loaded / name).exists():
        return True
    try:
        done = subprocess.run(["modprobe", "-n", "-q", "--", name], check=False, timeout=PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
