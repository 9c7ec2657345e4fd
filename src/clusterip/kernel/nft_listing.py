"""Reads what `nft list table` prints into a State.

Stage: read.  In: nft's text.  Out: chains, sets and elements that compare equal with compiled ones.
Rules: pure; what is not understood becomes a value that equals nothing of ours, never an error: it is then replaced.
Truth: nft 1.0.6, output of `list table`; a tab per level, one statement a line, elements may run over several lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clusterip.kernel.nft import (
    TABLE,
    Chain,
    Element,
    Hook,
    Key,
    SetSpec,
    State,
    Table,
    TableSpec,
    Value,
    chain_key,
    element_key,
    set_key,
)
from clusterip.kernel.nft_statement import Rule, canonical

PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_HOOK = re.compile(r"type (\S+) hook (\S+) priority ([^;]+); policy (\w+);")
_COMMENT = re.compile(r'comment "([^"]*)"')
_ELEMENT = re.compile(r'(?P<key>[^",:]+?)(?: comment "(?P<comment>[^"]*)")?(?: : (?P<value>[^,]+?))?\s*(?:,|$)')
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_BLOCK = re.compile(r"^\t(chain|set|map) (\S+) \{$")


def parse(text: str, table: Table) -> State:
    """The state of one table."""
    state: dict[Key, Value] = {TABLE: TableSpec(_table_comment(text))}
    for word, name, body in _blocks(text):
        if word == "chain":
            state[chain_key(name)] = _chain(body)
            continue
        spec, elements = _set(word, body)
        state[set_key(name)] = spec
        if not spec.is_dynamic:
            state |= {element_key(name, key): element for key, element in elements}
    return state


def _table_comment(text: str) -> str:
    found = re.search(r'^\tcomment "([^"]*)"$', text, re.MULTILINE)
    return found[1] if found else ""


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """(chain|set|map, name, lines without the outer tabs)"""
    opened: tuple[str, str] | None = None
    body: list[str] = []
    for line in text.splitlines():
        if found := _BLOCK.match(line):
            opened, body = (found[1], found[2]), []
        elif line == "\t}" and opened:
            yield *opened, body
            opened = None
        elif opened:
            body.append(line.removeprefix("\t\t"))


def _chain(body: list[str]) -> Chain:
    hook, comment, rules = None, "", []
    for line in body:
        if found := _HOOK.fullmatch(line):
            hook = Hook(found[1], found[2], _priority(found[3]), found[4])
        elif found := _COMMENT.fullmatch(line):
            comment = found[1]
        else:
            rules.append(Rule(canonical(line)))
    return Chain(tuple(rules), hook, comment)


def _priority(text: str) -> int:
    """A number, a name, or a name and an offset: `dstnat - 10`."""
    name, _, offset = text.partition(" ")
    return (PRIORITIES[name] if name in PRIORITIES else int(name)) + int(offset.replace(" ", "") or 0)


def _set(word: str, body: list[str]) -> tuple[SetSpec, list[tuple[str, Element]]]:
    typeof, value, timeout, dynamic, comment = "", "", 0, False, ""
    elements: list[tuple[str, Element]] = []
    for position, line in enumerate(body):
        head, _, rest = line.partition(" ")
        if head in ("typeof", "type"):
            typeof, _, value = rest.partition(" : ")
        elif head == "flags":
            dynamic = "dynamic" in rest.split(",")
        elif head == "timeout":
            timeout = sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([dhms])(?!s)", rest))
        elif head == "comment":
            comment = rest.strip('"')
        elif head == "elements":
            elements = [] if dynamic else list(_elements("".join(body[position:])))
            break
    return SetSpec(typeof, value if word == "map" else "", timeout, dynamic, comment), elements


def _elements(text: str) -> Iterator[tuple[str, Element]]:
    inner = text[text.index("{") + 1 : text.rindex("}")].strip()
    for found in _ELEMENT.finditer(inner):
        yield found["key"].strip(), Element((found["value"] or "").strip(), found["comment"] or "")
