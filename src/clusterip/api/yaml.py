"""YAML as Kubernetes reads and writes it.

Stage: none; pure.  In: text.  Out: trees, or YamlError with the line; and text again.
Rules: the words for true, false and null, and the forms of numbers, are those of go-yaml 2 (`y` and `on` are true, 010
is eight, times stay texts); keys are texts; the second of two equal keys wins unless strict.
Truth: sigs.k8s.io/yaml and its go-yaml, whose error texts these are.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import yaml as pyyaml
from yaml import cyaml
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.representer import SafeRepresenter
from yaml.resolver import BaseResolver
from yaml.scanner import ScannerError

from clusterip.api.errors import quoted
from clusterip.api.meta import Tree, copied

Event: TypeAlias = Any
"""One of PyYAML's events; its own types know too little of them."""

MOST_NODES: Final = 1_000_000  # what aliases may unfold to
DEEPEST: Final = 200  # no object is deeper, and Python's own stack is not endless

TAG: Final = "tag:yaml.org,2002:"


class YamlError(ValueError):
    """Text that is not YAML, or not what JSON can say."""


# --- reading ---------------------------------------------------------------------------------------------------------


def load(text: str) -> tuple[Any, list[str]]:
    """The first document (None when it is empty), and what strict reading refuses: key "port" already set in map."""
    return next(documents(text), (None, []))


def strict_text(duplicates: list[str]) -> str:
    """The one error that several equal keys make."""
    return "yaml: unmarshal errors:\n" + "\n".join(f"  {text}" for text in duplicates)


def documents(text: str) -> Iterator[tuple[Any, list[str]]]:
    """Documents and the equal keys in each, one after another."""
    try:
        events = iter(pyyaml.parse(text, Loader=cyaml.CSafeLoader))
        for event in events:
            if isinstance(event, DocumentStartEvent):
                builder = _Builder(events)
                yield builder.build(next(events), 0), builder.duplicates
    except YAMLError as error:
        raise YamlError(_told(error)) from None


def _told(error: YAMLError) -> str:
    """The error as go-yaml tells it: scanners name a line from one, parsers the line before."""
    if not isinstance(error, MarkedYAMLError):
        return f"yaml: {getattr(error, 'reason', error)}"
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    if line and isinstance(error, ScannerError):
        line += 1
    where = f"line {line}: " if line else ""
    return f"yaml: {where}{error.problem or 'unknown problem parsing YAML content'}"


class _Builder:
    """One document's events into a tree: no stack but ours grows with its depth."""

    def __init__(self, events: Iterator[Event]) -> None:
        self.duplicates: list[str] = []
        self._events = events
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._count = 0

    def build(self, event: Event, depth: int) -> Any:
        """The value that begins with an event."""
        self._count_more(1)
        if depth > DEEPEST:
            raise YamlError(f"yaml: exceeded max depth of {DEEPEST}")
        if isinstance(event, AliasEvent):
            return self._alias(event)
        before = self._count
        if event.anchor:
            self._anchors[event.anchor] = (UNFINISHED, 0)
        value = self._collection(event, depth) if isinstance(event, CollectionStartEvent) else _scalar(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._count - before)
        return value

    def _count_more(self, count: int) -> None:
        self._count += count
        if self._count > MOST_NODES:
            raise YamlError("yaml: document contains excessive aliasing")

    def _alias(self, event: Event) -> Any:
        if event.anchor not in self._anchors:
            raise YamlError(f"yaml: unknown anchor '{event.anchor}' referenced")
        value, size = self._anchors[event.anchor]
        if value is UNFINISHED:
            raise YamlError(f"yaml: anchor '{event.anchor}' value contains itself")
        self._count_more(size)
        return copied(value)

    def _collection(self, event: Event, depth: int) -> Any:
        if isinstance(event, MappingStartEvent):
            return self._map(depth)
        items: list[Any] = []
        while not isinstance(item := next(self._events), SequenceEndEvent):
            items.append(self.build(item, depth + 1))
        return items

    def _map(self, depth: int) -> Tree:
        out: Tree = {}
        merged: Tree = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            if isinstance(event, ScalarEvent) and event.implicit[0] and event.value == "<<":
                merged = {**merged, **_merged(self.build(next(self._events), depth + 1))}
                continue
            line = event.start_mark.line + 1
            key = _key(self.build(event, depth + 1), line)
            if key in out:
                self.duplicates.append(f"line {line}: key {quoted(key)} already set in map")
            out[key] = self.build(next(self._events), depth + 1)
        return {**merged, **out} if merged else out


UNFINISHED: Final = object()


def _merged(found: Any) -> Tree:
    """What `<<` brings: a map, or maps of which the first wins."""
    maps = found if isinstance(found, list) else [found]
    if not all(isinstance(one, dict) for one in maps):
        raise YamlError("yaml: map merge requires map or sequence of maps as the value")
    return {key: value for one in reversed(maps) for key, value in one.items()}


def _key(value: Any, line: int) -> str:
    """A key as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    kind = {type(None): "<nil>", dict: "map", list: "slice"}.get(type(value), "")
    raise YamlError(f"yaml: line {line}: unsupported map key of type: {kind}")


def _scalar(event: Event) -> Any:
    text: str = event.value
    if event.implicit[0]:
        return resolved(text)
    if event.tag is None or event.tag in (TAG + "str", "!"):
        return text
    return _tagged(event.tag.removeprefix(TAG), text, event.start_mark.line + 1)


def _tagged(tag: str, text: str, line: int) -> Any:
    """A scalar that says what it is."""
    value = resolved(text)
    if tag == "binary":
        try:
            return base64.b64decode(text).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise YamlError("yaml: !!binary value contains invalid base64 data") from None
    if tag == "float" and type(value) in (int, float):
        return value
    if tag in TAGGED and type(value) is not TAGGED[tag]:
        raise YamlError(f"yaml: line {line}: cannot decode !!{TAG_NAMES[type(value)]} `{text}` as a !!{tag}")
    return value if tag in TAGGED else text


TAGGED: Final = {"int": int, "float": float, "bool": bool, "null": type(None)}
TAG_NAMES: Final = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}


def _forms(*words: str) -> list[str]:
    return [form for word in words for form in (word, word.capitalize(), word.upper())]


WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(["y", "Y", *_forms("yes", "true", "on")], True),
    **dict.fromkeys(["n", "N", *_forms("no", "false", "off")], False),
    **dict.fromkeys(["", "~", *_forms("null")], None),
}
NOT_A_NUMBER: Final = frozenset(f"{sign}.{word}" for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")) | {
    ".nan",
    ".NaN",
    ".NAN",
}
FIRST_OF_NUMBER: Final = frozenset("+-.0123456789")
INTEGER: Final = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)


def resolved(text: str) -> Any:
    """What a plain scalar means."""
    if text in WORDS:
        return WORDS[text]
    if text[0] in FIRST_OF_NUMBER:
        return _number(text)
    return text


def _number(text: str) -> Any:
    if text in NOT_A_NUMBER:
        raise YamlError(f"json: unsupported value: {text.lstrip('.')}")
    digits = text.replace("_", "")
    if match := INTEGER.fullmatch(digits):
        number = _integer(match[2]) * (-1 if match[1] == "-" else 1)
        if -(2**63) <= number < 2**64:
            return number
    if FLOAT.fullmatch(digits):
        number_ = float(digits)
        if math.isinf(number_):
            return text
        return int(number_) if number_.is_integer() and abs(number_) < 1e21 else number_
    return text


def _integer(digits: str) -> int:
    if len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567":
        return int(digits, 8)
    return int(digits[:70], 0)  # longer is too large in any base


# --- writing ---------------------------------------------------------------------------------------------------------

TIME: Final = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}.*)?", re.ASCII)
SEXAGESIMAL: Final = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", re.ASCII)


def dump(tree: Any) -> str:
    """The text of a tree: keys sorted, texts quoted where they would be read as something else."""
    text: str = pyyaml.dump(
        tree, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 30
    )
    return text.removesuffix("...\n")


def _is_plain(text: str) -> bool:
    """Whether a text without quotes is read as that text."""
    if TIME.fullmatch(text) or SEXAGESIMAL.fullmatch(text) or text in NOT_A_NUMBER or text == "<<":
        return False
    try:
        return isinstance(resolved(text), str)
    except YamlError:
        return False


class _NoTags(BaseResolver):
    """No tag is ever written: styles are chosen when nodes are made."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return TAG + ("str" if kind is ScalarNode else "seq" if kind is SequenceNode else "map")


class _Dumper(cyaml.CEmitter, SafeRepresenter, _NoTags):  # type: ignore[name-defined,misc]
    """libyaml's emitter with go-yaml's choice of quotes."""

    def __init__(
        self, stream: Any, default_style: Any = None, default_flow_style: bool = False, **options: Any
    ) -> None:
        sort_keys = options.pop("sort_keys", False)
        cyaml.CEmitter.__init__(self, stream, **options)  # type: ignore[attr-defined]
        SafeRepresenter.__init__(self, default_flow_style=default_flow_style, sort_keys=sort_keys)
        _NoTags.__init__(self)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> Node:
    style = "|" if "\n" in text else None if _is_plain(text) else '"'
    return ScalarNode(TAG + "str", text, style=style)


def _represent_scalar(dumper: Any, value: Any) -> Node:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return ScalarNode(TAG + "str", text)


DIGITS: Final = re.compile(r"([0-9]+)", re.ASCII)


def _natural(key: str) -> list[tuple[int, int, str]]:
    """go-yaml's order of keys: numbers in them count as numbers."""
    return [(1, int(part), "") if part.isdecimal() and part.isascii() else (0, 0, part) for part in DIGITS.split(key)]


def _represent_map(dumper: Any, tree: Tree) -> Node:
    pairs = [(dumper.represent_data(key), dumper.represent_data(tree[key])) for key in sorted(tree, key=_natural)]
    return MappingNode(TAG + "map", pairs, flow_style=not pairs)


def _represent_list(dumper: Any, items: list[Any]) -> Node:
    return SequenceNode(TAG + "seq", [dumper.represent_data(item) for item in items], flow_style=not items)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(dict, _represent_map)
_Dumper.add_representer(list, _represent_list)
for _kind in (bool, int, float, type(None)):
    _Dumper.add_representer(_kind, _represent_scalar)
