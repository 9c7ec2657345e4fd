"""nftables in memory, for tests: the same Protocol, the same refusals.

Stage: commit and read, without a kernel.  In: Changes.  Out: the State that the kernel would list.
Rules: held to the kernel by tests/contract/test_nft.py; a difference found is fixed here and gets a case there.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.diff import Changes
from clusterip.kernel.nft import (
    TABLE,
    Chain,
    Element,
    Key,
    Kind,
    NftError,
    SetSpec,
    State,
    Table,
    Value,
    chain_key,
    element_changes,
    joined,
    set_key,
)
from clusterip.kernel.nft_statement import Dispatch, Goto, InSet, Jump, Remember, Spread, Statement, TranslateByMap

MISSING = "No such file or directory"


class FakeNft:
    """Tables in a dictionary. `refuse` makes the next commit fail; `limit` is how many changes one may hold."""

    def __init__(self) -> None:
        self.tables: dict[Table, dict[Key, Value]] = {}
        self.ports: tuple[int, ...] = ()
        self.refuse = ""
        self.limit = 0
        self.commits: list[Changes[Key, Value]] = []

    async def commit(self, table: Table, changes: Changes[Key, Value]) -> None:
        if self.refuse:
            reason, self.refuse = self.refuse, ""
            raise NftError(reason)
        if self.limit and len(changes) > self.limit:
            raise NftError("Message too long", too_long=True)
        if not changes:
            return
        changes = _split(changes, table.family)
        after = _applied(self.tables.get(table), changes)
        self.commits.append(changes)
        if after is None:
            self.tables.pop(table, None)
        else:
            self.tables[table] = after

    async def read(self, table: Table) -> State:
        return joined_all(self.tables.get(table, {}))


def joined_all(state: State) -> dict[Key, Value]:
    """A state with its elements as runs."""
    found = dict(state)
    for key, spec in state.items():
        if isinstance(spec, SetSpec) and spec.has_runs:
            mine = {each: found.pop(each) for each in state if each.kind is Kind.ELEMENT and each.name == key.name}
            elements = {each.element: value for each, value in mine.items() if isinstance(value, Element)}
            found |= {Key(Kind.ELEMENT, key.name, each): value for each, value in joined(elements).items()}
    return found


def _split(changes: Changes[Key, Value], family: str) -> Changes[Key, Value]:
    """The changes with single elements, those that stay left out."""
    gone = {key.name for key in changes.remove if key.kind is Kind.SET}
    put: dict[Key, Value] = {key: value for key, value in changes.put.items() if not isinstance(value, Element)}
    remove: dict[Key, Value] = {key: value for key, value in changes.remove.items() if not isinstance(value, Element)}
    for found in element_changes(family, changes, gone):
        put |= {Key(Kind.ELEMENT, found.name, key): value for key, value in found.put.items()}
        remove |= {Key(Kind.ELEMENT, found.name, key): value for key, value in found.remove.items()}
    return Changes(put, remove)


def _applied(old: dict[Key, Value] | None, changes: Changes[Key, Value]) -> dict[Key, Value] | None:
    """The table after the changes; None when it goes; NftError when the kernel would refuse."""
    if TABLE in changes.remove:
        if TABLE not in changes.put:
            return None
        old = {}
    elif old is None and TABLE not in changes.put:
        raise NftError(f"Error: {MISSING}")
    after = dict(old or {})
    if TABLE not in changes.remove:
        for key in changes.remove:
            if key not in after:
                raise NftError(f"Error: {MISSING}: {key}")
            del after[key]
    after = {key: value for key, value in after.items() if key.kind is not Kind.ELEMENT or set_key(key.name) in after}
    for key, value in changes.put.items():
        after[key] = _added(after.get(key), value, key)
    _check_references(after)
    return after


def _added(old: Value | None, new: Value, key: Key) -> Value:
    if isinstance(old, Chain) and isinstance(new, Chain):
        return Chain(old.rules + new.rules, old.hook, old.comment)
    if isinstance(old, Element) and isinstance(new, Element) and old.value != new.value:
        raise NftError(f"Error: Could not process rule: File exists: {key}")
    return new if old is None else old


def _check_references(state: State) -> None:
    for key, value in state.items():
        for needed in _references(key, value):
            if needed not in state:
                raise NftError(f"Error: {MISSING} or in use: {needed} for {key}")


def _references(key: Key, value: Value) -> Iterator[Key]:
    if isinstance(value, Element):
        yield set_key(key.name)
        verdict, _, chain = str(value.value).partition(" ")
        if verdict in ("goto", "jump"):
            yield chain_key(chain)
    elif isinstance(value, Chain):
        for rule in value.rules:
            for statement in rule.statements:
                yield from _named(statement)


def _named(statement: Statement) -> Iterator[Key]:
    match statement:
        case Goto(chain) | Jump(chain):
            yield chain_key(chain)
        case InSet(name=name) | Dispatch(name=name) | Remember(name) | TranslateByMap(name=name) | Spread(name=name):
            yield set_key(name)
