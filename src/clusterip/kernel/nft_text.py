"""The other way into the kernel: the text that the program `nft` reads. Held against nft_message.py in tests.

Stage: commit.  In: Changes.  Out: kernel tables, all of the changes or none.
Rules: the same order of steps as nft_message.py; what it makes must list as what that makes.  Reading is nft_kernel's.
Truth: nft(8) 1.0.6.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from clusterip.diff import Changes
from clusterip.kernel.nfnetlink import Nfnetlink
from clusterip.kernel.nft import (
    TABLE,
    Chain,
    Element,
    ElementChanges,
    Hook,
    Key,
    Kind,
    NftError,
    SetSpec,
    State,
    Table,
    TableSpec,
    Value,
    element_changes,
)
from clusterip.kernel.nft_expression import Rule
from clusterip.kernel.nft_field import show
from clusterip.kernel.nft_kernel import KernelNft
from clusterip.kernel.nft_statement import TranslateByMap

CHUNK = 500  # elements in one command
SCRATCH = "scratch"  # a chain that lives within a transaction
TOO_LONG = "Message too long"
Specs = Mapping[str, SetSpec]


class TextNft(KernelNft):
    """Commits by running `nft`; the ports are those of the last runs: a monitor knows our events by them."""

    def __init__(
        self,
        command: tuple[str, ...] = ("nft",),
        open_link: Callable[[], Nfnetlink] = Nfnetlink,
        timeout_seconds: float = 120.0,
    ) -> None:
        super().__init__(open_link)
        self._command, self._timeout_seconds = command, timeout_seconds
        self._ran: deque[int] = deque(maxlen=16)

    @property
    def ports(self) -> Collection[int]:
        return self._ran

    async def commit(self, table: Table, changes: Changes[Key, Value]) -> None:
        if not changes:
            return
        present: State = {} if TABLE in changes.remove else await self.read(table)
        specs = {key.name: value for key, value in {**present, **changes.put}.items() if isinstance(value, SetSpec)}
        await self._run("-f", "-", script=render(table, changes, specs))

    async def _run(self, *arguments: str, script: str) -> None:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, *arguments, stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            raise NftError(f"cannot run {self._command[0]}: {error.strerror}; install nftables") from error
        self._ran.append(process.pid)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                _, trouble = await process.communicate(script.encode())
        except BaseException as error:
            if process.returncode is None:
                process.kill()
            if isinstance(error, TimeoutError):
                raise NftError(f"nft did not answer within {self._timeout_seconds:g} s") from error
            raise
        if process.returncode:
            text = trouble.decode(errors="replace")
            raise NftError(_complaint(text) or f"nft ended with {process.returncode}", too_long=TOO_LONG in text)


def _complaint(text: str) -> str:
    """The first complaint and the line it is about, in one line."""
    return " | ".join(line.strip()[:300] for line in text.splitlines()[:2])


def render(table: Table, changes: Changes[Key, Value], specs: Specs) -> str:
    """The transaction as the text that nft reads. A table that goes takes all with it."""
    lines: list[str] = []
    replaced = TABLE in changes.remove
    if replaced:
        lines += [f"add table {table}", f"delete table {table}"]  # add first: the delete of a missing table is an error
    removed: State = {} if replaced else changes.remove
    if isinstance(spec := changes.put.get(TABLE), TableSpec):
        lines.append(f'add table {table} {{ comment "{spec.comment}"; }}')
    lines += _declarations(table, removed, changes.put)
    gone = {key.name for key in removed if key.kind is Kind.SET}
    for found in element_changes(table.family, Changes(changes.put, removed), gone):
        lines += _element_lines(table, found, specs.get(found.name))
    lines += _rule_lines(table, changes.put)
    lines += _departures(table, removed, changes.put)
    return "\n".join(lines) + "\n"


def _declarations(table: Table, removed: State, put: State) -> Iterator[str]:
    """Sets and chains come first, chains that change or go lose their rules."""
    for key, value in put.items():
        if isinstance(value, SetSpec):
            if key in removed:
                raise NftError(f"set {key.name} of table {table} cannot change its type in place")
            yield f"add {value.word} {table} {key.name} {_set_body(value, table.family)}"
    for key, value in removed.items():
        if isinstance(value, Chain):
            yield f"flush chain {table} {key.name}"
            new = put.get(key)
            if isinstance(new, Chain) and _head(new) != _head(value):
                yield f"delete chain {table} {key.name}"  # hook and comment are fixed at birth
    for key, value in put.items():
        if isinstance(value, Chain):
            yield f"add chain {table} {key.name} {_head(value)}".rstrip()


def _set_body(spec: SetSpec, family: str) -> str:
    words = [f"typeof {spec.typeof(family)};"]
    if spec.is_dynamic:
        words.append("size 65535; flags dynamic,timeout;")
    if spec.timeout_seconds:
        words.append(f"timeout {spec.timeout_seconds}s;")
    if spec.counts:
        words.append("counter;")
    if spec.comment:
        words.append(f'comment "{spec.comment}";')
    return "{ " + " ".join(words) + " }"


def _hook(hook: Hook) -> str:
    return f"type {hook.type} hook {hook.hook} priority {hook.priority}; policy {hook.policy};"


def _head(chain: Chain) -> str:
    words = [_hook(chain.hook)] if chain.hook else []
    if chain.comment:
        words.append(f'comment "{chain.comment}";')
    return "{ " + " ".join(words) + " }" if words else ""


def _element_lines(table: Table, found: ElementChanges, spec: SetSpec | None) -> Iterator[str]:
    if spec is None:
        raise NftError(f"table {table} has no set {found.name}: No such file or directory")
    family, name = table.family, found.name
    keys = (show(key, spec.key, family) for key in found.remove)
    yield from _commands(f"delete element {table} {name}", keys)
    added = (_element(show(key, spec.key, family), element, spec, family) for key, element in found.put.items())
    yield from _commands(f"add element {table} {name}", added)


def _element(text: str, element: Element, spec: SetSpec, family: str) -> str:
    comment = f' comment "{element.comment}"' if element.comment else ""
    value = element.value if isinstance(element.value, str) else show(element.value, spec.value, family)
    return f"{text}{comment} : {value}" if value else f"{text}{comment}"


def _commands(command: str, elements: Iterable[str]) -> Iterator[str]:
    chunk: list[str] = []
    for element in elements:
        chunk.append(element)
        if len(chunk) == CHUNK:
            yield f"{command} {{ {', '.join(chunk)} }}"
            chunk = []
    if chunk:
        yield f"{command} {{ {', '.join(chunk)} }}"


def text_of(rule: Rule, family: str) -> str:
    """A rule as nft prints it."""
    text = " ".join(statement.render(family) for statement in rule.statements)
    return f'{text} comment "{rule.comment}"' if rule.comment else text


def _rule_lines(table: Table, put: State) -> Iterator[str]:
    """The rules, after one per map that takes a flaw of nft 1.0.6 on itself and goes again.

    The first rule of a run that translates by a map of `ip daddr . tcp dport` gets a hidden match of TCP (with a value
    of `th dport` nft refuses rules for a map that exists already); the rules after it are as written.
    """
    lines: list[str] = []
    used: dict[str, str] = {}
    for key, value in put.items():
        if isinstance(value, Chain):
            for rule in value.rules:
                lines.append(f"add rule {table} {key.name} {text_of(rule, table.family)}")
                maps = (statement for statement in rule.statements if isinstance(statement, TranslateByMap))
                used |= {statement.name: statement.render(table.family) for statement in maps}
    if used:
        yield f"add chain {table} {SCRATCH}"
        yield from (f"add rule {table} {SCRATCH} meta l4proto tcp {text}" for text in used.values())
    yield from lines
    if used:
        yield f"delete chain {table} {SCRATCH}"


def _departures(table: Table, removed: State, put: State) -> Iterator[str]:
    """Maps before chains: their elements may still name one."""
    for key, value in removed.items():
        if isinstance(value, SetSpec):
            yield f"delete {value.word} {table} {key.name}"
    for key, value in removed.items():
        if isinstance(value, Chain) and key not in put:
            yield f"delete chain {table} {key.name}"
