"""iptables: the kernel's chains through the programs of one variant, nft or legacy.

Stage: commit.  In: Changes of a State, in stages.  Out: kernel tables, or IptablesError; read: owned chains as a State.
Rules: text is made and read elsewhere (iptables_state.py, iptables_listing.py); here the programs run.
Truth: iptables-restore(8), xtables-nft(8), xtables-legacy(8) 1.8.9.  Each table of each stage is one transaction of the
kernel; a run that fails at a later table leaves the earlier ones changed: the state must be read again after an error.
A run that outlives a proxy that was killed holds its claim on the node (claim.py), so that the next proxy reads when
all is still.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable

from clusterip.diff import Changes
from clusterip.kernel.iptables_listing import Listing, parse, target
from clusterip.kernel.iptables_pieces import CHAINS, pieces
from clusterip.kernel.iptables_state import (
    FIRST,
    LAST,
    ChainKey,
    Iptables,
    IptablesError,
    Jump,
    JumpKey,
    Key,
    Owns,
    Rules,
    State,
    Value,
    absent,
    absent_in,
    owned,
    render,
)

__all__ = [
    "FIRST",
    "LAST",
    "LEGACY",
    "NFT",
    "ChainKey",
    "Iptables",
    "IptablesError",
    "Jump",
    "JumpKey",
    "KernelIptables",
    "Key",
    "Owns",
    "Rules",
    "State",
    "Value",
    "owned",
    "render",
]

NFT, LEGACY = "nft", "legacy"
LOCK_SECONDS = 10  # the legacy variant has one lock for the whole machine
MISSING_PROGRAM = "install iptables"
_LINE = re.compile(r"line:? (\d+)")
_NAMED = re.compile(r"[Cc]hain [`']([^' ]+)' does not exist")


class KernelIptables:
    """The tables of the network namespace that this process is in, by the programs of one variant.

    `family` is 4 or 6; without a variant the plain names are used, which the machine's alternatives lead to one.
    """

    def __init__(self, family: int, variant: str | None = None, timeout_seconds: float = 300.0) -> None:
        self.family, self.variant = family, variant
        self._timeout_seconds = timeout_seconds
        self.ports: deque[int] = deque(maxlen=256)  # process ids of the last runs: events with these ports are our own
        self.running = 0

    def program(self, word: str) -> str:
        """The name of a program: `restore`, `save`, or "" for iptables itself."""
        return "-".join(filter(None, ("iptables" if self.family == 4 else "ip6tables", self.variant, word)))

    async def commit(self, *stages: Changes[Key, Value]) -> None:
        """A change of very many chains is made in several runs: see iptables_pieces.py."""
        if self.variant == LEGACY or sum(map(len, stages)) <= CHAINS:
            await self._restore(render(*stages))
            return
        for stage in stages:
            for piece in pieces(stage):
                await self._restore(render(piece))

    async def _restore(self, script: str) -> None:
        if script:
            await self._run(script, self.program("restore"), "--noflush", "--wait", str(LOCK_SECONDS))

    async def read(self, owns: Owns) -> State:
        return owned(await self.listing(), owns)

    async def missing(self, keys: Iterable[Key]) -> list[Key]:
        """The legacy variant reads a whole table whatever is asked: one look at all tables is cheaper there."""
        wanted = list(keys)
        if self.variant == LEGACY:
            return absent_in(wanted, await self.save())
        text = ""
        for table, chain in dict.fromkeys(key[:2] for key in wanted):
            try:
                text += f"*{table}\n" + await self.ask("--table", table, "--list-rules", chain)
            except IptablesError as error:
                if MISSING_PROGRAM in str(error):
                    raise
        return absent(wanted, parse(text))

    async def listing(self, table: str = "") -> Listing:
        """Everything, or one table."""
        return parse(await self.save(table))

    async def save(self, table: str = "") -> str:
        return await self._run("", self.program("save"), *(("--table", table) if table else ()))

    async def ask(self, *arguments: str) -> str:
        """Run iptables itself: for questions about one chain."""
        return await self._run("", self.program(""), "--wait", str(LOCK_SECONDS), *arguments)

    async def _run(self, script: str, *command: str) -> str:
        pipe = asyncio.subprocess.PIPE
        stdin = pipe if script else asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=stdin, stdout=pipe, stderr=pipe, close_fds=False
            )
        except OSError as error:
            raise IptablesError(f"cannot run {command[0]}: {error.strerror}; {MISSING_PROGRAM}") from error
        self.ports.append(process.pid)
        self.running += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                output, trouble = await process.communicate(script.encode() if script else None)
        except BaseException as error:
            if process.returncode is None:
                process.kill()
            if isinstance(error, TimeoutError):
                raise IptablesError(f"{command[0]} did not answer within {self._timeout_seconds:g} s") from error
            raise
        finally:
            self.running -= 1
        if process.returncode:
            raise _refusal(command[0], trouble.decode(errors="replace"), process.returncode, script)
        return output.decode()


def _refusal(program: str, trouble: str, code: int, script: str) -> IptablesError:
    """The program's words in one line, and the line of the script that they are about."""
    said = " | ".join(line.strip() for line in trouble.splitlines() if line.strip() and "--help" not in line)
    return IptablesError(said[:500] or f"{program} ended with {code}", _guilty(said, script.splitlines()))


def _guilty(said: str, lines: list[str]) -> str:
    """The nft variant names a chain that is missing, and for the line the COMMIT at which it looked."""
    if found := _NAMED.search(said):
        return next((line for line in lines if target(line) == found[1]), "")
    found = _LINE.search(said)
    rule = lines[int(found[1]) - 1] if found and 0 < int(found[1]) <= len(lines) else ""
    return "" if rule == "COMMIT" else rule
