"""iptables as values: chains as tuples of rules, jumps into them, changes as text for `iptables-restore --noflush`.

Stage: commit.  In: Changes of a State, a Listing.  Out: the text; the State of owned chains.
Rules: pure; no Service is known; chains of others are never named; a long chain of which few lines changed is edited in
place.  iptables.py runs the programs, iptables_fake.py obeys the same Protocol, iptables_listing.py reads.
Truth: iptables-restore(8), iptables-extensions(8) 1.8.9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from clusterip.diff import Changes
from clusterip.kernel.iptables_listing import Listing, target

TABLES = ("mangle", "filter", "nat")  # in this order within a stage
LONG = 64  # lines from which on a chain is edited in place
FEW_DELETIONS = 20  # each one is searched for along the whole chain


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

    async def missing(self, keys: Iterable[Key]) -> list[Key]:
        """Which of these are not there; the contents of chains are not looked at."""
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
    if len(new) < LONG:
        return None
    kept = set(old) & set(new)
    if len(old) - len(kept) > FEW_DELETIONS or len(new) - len(kept) > len(new) // 8 or len(set(new)) != len(new):
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


def absent_in(keys: Iterable[Key], saved: str) -> list[Key]:
    """The same of what iptables-save prints, which may be long, without reading it all."""
    tables = {text.split("\n", 1)[0]: text for text in ("\n" + saved).split("\n*")[1:]}
    return [key for key in keys if _line_of(key) not in tables.get(key.table, "")]


def _line_of(key: Key) -> str:
    return f"\n-A {key.chain} {key.rule}\n" if isinstance(key, JumpKey) else f"\n:{key.chain} "


def absent(keys: Iterable[Key], listing: Listing) -> list[Key]:
    """Which of the keys a listing lacks."""
    return [
        key
        for key in keys
        if key[:2] not in listing.rules or (isinstance(key, JumpKey) and key.rule not in listing.rules[key[:2]])
    ]
