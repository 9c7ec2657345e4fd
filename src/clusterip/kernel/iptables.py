"""iptables: chains as tuples of rules, jumps into them, changes as one `iptables-restore --noflush`.

Stage: commit.  In: Changes of a State, in stages.  Out: kernel tables, or IptablesError; read: the State of owned chains.
Rules: no Service is known; chains of others are never named; a chain whose lines hardly changed is edited in place.
iptables_fake.py obeys the same Protocol, iptables_listing.py reads.
Truth: iptables-restore(8), iptables-extensions(8) 1.8.9.  Each table of each stage is one transaction of the kernel;
a run that fails at a later table leaves the earlier ones changed, so that the state must be read again after an error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from clusterip.diff import Changes
from clusterip.kernel.iptables_listing import Listing, parse, target

TABLES = ("mangle", "filter", "nat")  # in this order within a stage
LOCK_SECONDS = 10  # the legacy variant has one lock for the whole machine
MISSING_PROGRAM = "install iptables"
_LINE = re.compile(r"line:? (\d+)")


class IptablesError(Exception):
    """The program refused, or could not run. `rule` is the line that it did not take, when it said which."""

    def __init__(self, reason: str, rule: str = "") -> None:
        super().__init__(f"{reason}: {rule}" if rule else reason)
        self.rule = rule


class ChainKey(NamedTuple):
    """A chain of ours."""

    table: str
    chain: str


class JumpKey(NamedTuple):
    """A rule in a built-in chain that leads into a chain of ours."""

    table: str
    chain: str
    rule: str


@dataclass(frozen=True, slots=True)
class Jump:
    """Where a jump is put when it is missing: before or behind all others. Where one is found says nothing."""

    position: str = field(compare=False)


FIRST, LAST = Jump("first"), Jump("last")
Rules: TypeAlias = tuple[str, ...]  # what stands behind `-A CHAIN `, exactly as iptables-save prints it
Key: TypeAlias = ChainKey | JumpKey
Value: TypeAlias = Rules | Jump
State: TypeAlias = Mapping[Key, Value]
Owns: TypeAlias = Callable[[str, str], bool]  # (table, chain): is it ours?


class Iptables(Protocol):
    """What the kernel offers in one IP family, and what the fake does too."""

    async def commit(self, *stages: Changes[Key, Value]) -> None:
        """Make the changes, stage by stage, each table of a stage at once; IptablesError when any is refused."""
        ...

    async def read(self, owns: Owns) -> State:
        """The chains that are ours, and the jumps from built-in chains into them."""
        ...


def render(*stages: Changes[Key, Value]) -> str:
    """The text for `iptables-restore --noflush`."""
    return "".join(line + "\n" for stage in stages for table in TABLES for line in _section(table, stage))


def _section(table: str, changes: Changes[Key, Value]) -> list[str]:
    put = {key: value for key, value in changes.put.items() if key.table == table}
    removed = {key: value for key, value in changes.remove.items() if key.table == table}
    if not put and not removed:
        return []
    declared: list[str] = []
    lines: list[str] = []
    gone: list[str] = []
    for key, value in put.items():
        if isinstance(value, tuple):
            old = removed.get(key)
            _chain_lines(key.chain, old if isinstance(old, tuple) else None, value, declared, lines)
    jumps = [f"-D {key.chain} {key.rule}" for key in removed if isinstance(key, JumpKey) and key not in put]
    jumps += _jump_lines({key: value for key, value in put.items() if isinstance(value, Jump)})
    for key in removed:
        if isinstance(key, ChainKey) and key not in put:
            declared.append(f":{key.chain} - [0:0]")  # flushed first: it may name others that go
            gone.append(f"-X {key.chain}")
    return [f"*{table}", *declared, *lines, *jumps, *gone, "COMMIT"]


def _chain_lines(chain: str, old: Rules | None, new: Rules, declared: list[str], lines: list[str]) -> None:
    found = None if old is None else edits(chain, old, new)
    if found is None:
        declared.append(f":{chain} - [0:0]")  # makes the chain, or empties it
        lines.extend(f"-A {chain} {rule}" for rule in new)
    else:
        lines.extend(found)


def _jump_lines(put: Mapping[Key, Jump]) -> Iterator[str]:
    """Jumps into one chain stand in the order of the mapping."""
    pairs = [(key, value.position) for key, value in put.items() if isinstance(key, JumpKey)]
    yield from (f"-I {key.chain} {key.rule}" for key, position in reversed(pairs) if position == FIRST.position)
    yield from (f"-A {key.chain} {key.rule}" for key, position in pairs if position == LAST.position)


def edits(chain: str, old: Rules, new: Rules) -> list[str] | None:
    """The commands that turn a chain's old lines into the new; None when writing it anew is as good.

    Deletions name the rule, not its number: where somebody else edited the chain they fail instead of hitting another.
    """
    kept = set(old) & set(new)
    count = len(old) + len(new) - 2 * len(kept)
    if count > len(new) // 2 or len(set(old)) != len(old) or len(set(new)) != len(new):
        return None
    if [rule for rule in old if rule in kept] != [rule for rule in new if rule in kept]:
        return None
    gone = [f"-D {chain} {rule}" for rule in old if rule not in kept]
    return gone + [_insert(chain, number, rule, len(new)) for number, rule in enumerate(new, 1) if rule not in kept]


def _insert(chain: str, number: int, rule: str, last: int) -> str:
    return f"-A {chain} {rule}" if number == last else f"-I {chain} {number} {rule}"


def owned(listing: Listing, owns: Owns) -> State:
    """What of a listing is ours."""
    state: dict[Key, Value] = {}
    for (table, chain), rules in listing.rules.items():
        if listing.is_built_in(table, chain):
            state |= {JumpKey(table, chain, rule): FIRST for rule in rules if owns(table, target(rule))}
        elif owns(table, chain):
            state[ChainKey(table, chain)] = tuple(rules)
    return state


class KernelIptables:
    """The tables of the network namespace that this process is in, by the programs of one variant.

    `family` is 4 or 6; without a variant the plain names are used, which the machine's alternatives lead to one.
    """

    def __init__(self, family: int, variant: str | None = None, timeout_seconds: float = 300.0) -> None:
        self.family, self.variant = family, variant
        self._timeout_seconds = timeout_seconds
        self.running: set[int] = set()  # the process ids of programs under way: events with these ports are our own

    def program(self, word: str) -> str:
        """The name of a program: `restore`, `save`, or "" for iptables itself."""
        return "-".join(filter(None, ("iptables" if self.family == 4 else "ip6tables", self.variant, word)))

    async def commit(self, *stages: Changes[Key, Value]) -> None:
        script = render(*stages)
        if script:
            await self._run(script, self.program("restore"), "--noflush", "--wait", str(LOCK_SECONDS))

    async def read(self, owns: Owns) -> State:
        return owned(await self.listing(), owns)

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
            process = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise IptablesError(f"cannot run {command[0]}: {error.strerror}; {MISSING_PROGRAM}") from error
        self.running.add(process.pid)
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
            self.running.discard(process.pid)
        if process.returncode:
            raise _refusal(command[0], trouble.decode(errors="replace"), process.returncode, script)
        return output.decode()


def _refusal(program: str, trouble: str, code: int, script: str) -> IptablesError:
    """The program's words in one line, and the line of the script that they are about."""
    said = " | ".join(line.strip() for line in trouble.splitlines() if line.strip() and not line.startswith("#"))
    found = _LINE.search(said)
    lines = script.splitlines()
    rule = lines[int(found[1]) - 1] if found and 0 < int(found[1]) <= len(lines) else ""
    return IptablesError(said[:500] or f"{program} ended with {code}", "" if rule == "COMMIT" else rule)
