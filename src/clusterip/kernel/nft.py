"""nftables: tables as flat mappings, changes as one transaction, the `nft` program as the way in.

Stage: commit.  In: Changes of a State.  Out: kernel tables, all of the changes or none; read: the State of one table.
Rules: text is made here and nowhere else; no Service is known.  nft_fake.py obeys the same Protocol, nft_listing.py
reads.  Order inside a transaction: sets, chains, rules out, elements out, elements in, rules in, sets and chains out:
each object exists before it is named and is named nowhere when it goes.
Truth: nft(8) 1.0.6.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

from clusterip.diff import Changes
from clusterip.kernel.nft_statement import Rule, TranslateByMap

CHUNK = 500  # elements in one command
SCRATCH = "scratch"  # a chain that lives within a transaction


class NftError(Exception):
    """nft refused a transaction or could not run; nothing of it was done."""


class Table(NamedTuple):
    """The name of a table."""

    family: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


class Kind(StrEnum):
    TABLE = "table"
    SET = "set"
    CHAIN = "chain"
    ELEMENT = "element"


class Key(NamedTuple):
    """What a state is keyed by: a chain, a set or map, or one element of one."""

    kind: Kind
    name: str
    element: str = ""


TABLE = Key(Kind.TABLE, "")


def chain_key(name: str) -> Key:
    return Key(Kind.CHAIN, name)


def set_key(name: str) -> Key:
    return Key(Kind.SET, name)


def element_key(name: str, element: str) -> Key:
    """An element by its text, as nft prints it: `10.96.0.1 . tcp . 443`."""
    return Key(Kind.ELEMENT, name, element)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """The table itself; one with another comment is somebody else's and is replaced whole."""

    comment: str


@dataclass(frozen=True, slots=True)
class Hook:
    """Where the kernel calls a base chain."""

    type: str
    hook: str
    priority: int
    policy: str = "accept"

    def render(self) -> str:
        return f"type {self.type} hook {self.hook} priority {self.priority}; policy {self.policy};"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its rules."""

    rules: tuple[Rule, ...]
    hook: Hook | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A named set, or a map when it has a value. A dynamic one is filled by packets: its elements are the kernel's."""

    typeof: str
    value: str = ""
    timeout_seconds: int = 0
    is_dynamic: bool = False
    comment: str = ""

    @property
    def word(self) -> str:
        return "map" if self.value else "set"


@dataclass(frozen=True, slots=True)
class Element:
    """What an element holds: nothing in a set, a verdict or a value in a map."""

    value: str = ""
    comment: str = ""


Value: TypeAlias = TableSpec | Chain | SetSpec | Element
State: TypeAlias = Mapping[Key, Value]


class Nft(Protocol):
    """What the kernel offers, and what the fake does too."""

    async def commit(self, table: Table, changes: Changes[Key, Value]) -> None:
        """Make all of the changes in one transaction, or raise NftError and make none."""
        ...

    async def read(self, table: Table) -> State:
        """What the table holds; empty when there is none."""
        ...


def _of(values: Mapping[Key, Value], kind: Kind) -> Iterator[tuple[str, Value]]:
    return ((key.name, value) for key, value in values.items() if key.kind is kind)


def _elements(values: Mapping[Key, Value], without: Container[str]) -> dict[str, list[tuple[str, Element]]]:
    """Elements by the name of their set."""
    found: dict[str, list[tuple[str, Element]]] = {}
    for key, value in values.items():
        if key.kind is Kind.ELEMENT and key.name not in without:
            assert isinstance(value, Element)
            found.setdefault(key.name, []).append((key.element, value))
    return found


def render(table: Table, changes: Changes[Key, Value]) -> str:
    """The transaction as the text that nft reads. A table that goes takes all with it."""
    lines: list[str] = []
    replaced = TABLE in changes.remove
    if replaced:
        lines += [f"add table {table}", f"delete table {table}"]  # add first: the delete of a missing table is an error
    removed: Mapping[Key, Value] = {} if replaced else changes.remove
    if spec := changes.put.get(TABLE):
        assert isinstance(spec, TableSpec)
        lines.append(f'add table {table} {{ comment "{spec.comment}"; }}')
    lines += _declarations(table, removed, changes.put)
    lines += _element_lines(table, removed, changes.put)
    lines += _rule_lines(table, changes.put)
    lines += _departures(table, removed, changes.put)
    return "\n".join(lines) + "\n"


def _declarations(table: Table, removed: State, put: State) -> Iterator[str]:
    """Sets and chains come first, chains that change or go lose their rules."""
    for name, value in _of(put, Kind.SET):
        assert isinstance(value, SetSpec)
        if set_key(name) in removed:
            raise NftError(f"set {name} of table {table} cannot change its type in place")
        yield f"add {value.word} {table} {name} {_set_body(value)}"
    for name, value in _of(removed, Kind.CHAIN):
        yield f"flush chain {table} {name}"
        new = put.get(chain_key(name))
        if new is not None and _head(new) != _head(value):
            yield f"delete chain {table} {name}"  # hook and comment are fixed at birth
    for name, value in _of(put, Kind.CHAIN):
        yield f"add chain {table} {name} {_head(value)}".rstrip()


def _set_body(spec: SetSpec) -> str:
    words = [f"typeof {spec.typeof}{f' : {spec.value}' if spec.value else ''};"]
    if spec.is_dynamic:
        words.append("size 65535; flags dynamic,timeout;")
    if spec.timeout_seconds:
        words.append(f"timeout {spec.timeout_seconds}s;")
    if spec.comment:
        words.append(f'comment "{spec.comment}";')
    return "{ " + " ".join(words) + " }"


def _head(value: Value) -> str:
    assert isinstance(value, Chain)
    words = [value.hook.render()] if value.hook else []
    if value.comment:
        words.append(f'comment "{value.comment}";')
    return "{ " + " ".join(words) + " }" if words else ""


def _element_lines(table: Table, removed: State, put: State) -> Iterator[str]:
    gone = {name for name, _ in _of(removed, Kind.SET)} - {name for name, _ in _of(put, Kind.SET)}
    for name, pairs in _elements(removed, gone).items():
        yield from _commands(f"delete element {table} {name}", (text for text, _ in pairs))
    for name, pairs in _elements(put, ()).items():
        yield from _commands(f"add element {table} {name}", (_element(text, element) for text, element in pairs))


def _element(text: str, element: Element) -> str:
    comment = f' comment "{element.comment}"' if element.comment else ""
    return f"{text}{comment} : {element.value}" if element.value else f"{text}{comment}"


def _commands(command: str, elements: Iterable[str]) -> Iterator[str]:
    chunk: list[str] = []
    for element in elements:
        chunk.append(element)
        if len(chunk) == CHUNK:
            yield f"{command} {{ {', '.join(chunk)} }}"
            chunk = []
    if chunk:
        yield f"{command} {{ {', '.join(chunk)} }}"


def _rule_lines(table: Table, put: State) -> Iterator[str]:
    """The rules, after one per map that takes a flaw of nft 1.0.6 on itself and goes again.

    The first rule of a run that translates by a map of `ip daddr . tcp dport` gets a hidden match of TCP (with a value
    of `th dport` nft refuses rules for a map that exists already); the rules after it are as written.
    """
    lines: list[str] = []
    used: dict[str, str] = {}
    for name, value in _of(put, Kind.CHAIN):
        assert isinstance(value, Chain)
        for found in value.rules:
            lines.append(f"add rule {table} {name} {found.shown or found.text}")
            used |= {
                statement.name: statement.render()
                for statement in found.statements
                if isinstance(statement, TranslateByMap)
            }
    if used:
        yield f"add chain {table} {SCRATCH}"
        yield from (f"add rule {table} {SCRATCH} meta l4proto tcp {text}" for text in used.values())
    yield from lines
    if used:
        yield f"delete chain {table} {SCRATCH}"


def _departures(table: Table, removed: State, put: State) -> Iterator[str]:
    """Maps before chains: their elements may still name one."""
    for name, value in _of(removed, Kind.SET):
        assert isinstance(value, SetSpec)
        yield f"delete {value.word} {table} {name}"
    yield from (f"delete chain {table} {name}" for name, _ in _of(removed, Kind.CHAIN) if chain_key(name) not in put)


class KernelNft:
    """The kernel's tables, through `nft`. The ports are those of the last runs: a monitor knows our events by them."""

    def __init__(self, command: tuple[str, ...] = ("nft",), timeout_seconds: float = 120.0) -> None:
        self._command = command
        self._timeout_seconds = timeout_seconds
        self.ports: deque[int] = deque(maxlen=16)

    async def commit(self, table: Table, changes: Changes[Key, Value]) -> None:
        if changes:
            await self._run("-f", "-", script=render(table, changes))

    async def read(self, table: Table) -> State:
        from clusterip.kernel.nft_listing import parse

        try:
            return parse(await self._run("list", "table", table.family, table.name), table)
        except NftError as error:
            if "No such file or directory" in str(error):
                return {}
            raise

    async def _run(self, *arguments: str, script: str = "") -> str:
        pipe = asyncio.subprocess.PIPE
        stdin = pipe if script else asyncio.subprocess.DEVNULL  # a program that reads nothing may end before we write
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, *arguments, stdin=stdin, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            raise NftError(f"cannot run {self._command[0]}: {error.strerror}; install nftables") from error
        self.ports.append(process.pid)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                output, trouble = await process.communicate(script.encode() if script else None)
        except BaseException as error:
            if process.returncode is None:
                process.kill()
            if isinstance(error, TimeoutError):
                raise NftError(f"nft did not answer within {self._timeout_seconds:g} s") from error
            raise
        if process.returncode:
            raise NftError(_reason(trouble.decode(errors="replace")) or f"nft ended with {process.returncode}")
        return output.decode()


def _reason(text: str) -> str:
    """The first complaint and the line it is about, in one line."""
    return " | ".join(line.strip()[:300] for line in text.splitlines()[:2])
