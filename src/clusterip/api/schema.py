"""The structure of every kind: fields, types, how lists merge.

Stage: none; values, loaded at first use.  In: schema.json, written by the build hook.  Out: Definition and Node.
Rules: pure but for reading our own two files once; a definition is built when first asked for and then kept.
Truth: Kubernetes' OpenAPI, and gotypes.txt for what it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import orjson

from clusterip.api.meta import GroupVersionKind, Tree

HERE: Final = Path(__file__).parent

SCALARS: Final = frozenset({"string", "int32", "int64", "bool", "double", "bytes"})
"""Types whose JSON Go reads and writes by methods of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The type of a field, or of what a list or map holds."""

    type: str
    """string int32 int64 bool double bytes time microtime quantity intstr raw any list map ref; of custom resources
    also deduced: what it is shows by itself, lists are one value and maps are not"""
    of: Node | None = None
    ref: str = ""
    required: bool = False
    written: bool = False
    """Present in every answer, even when empty."""
    omit_zero: bool = False
    pointer: bool = False
    """A zero is kept, and differs from nothing."""
    list_type: str = "atomic"
    keys: tuple[str, ...] = ()
    map_type: str = ""
    """Empty: as the definition it refers to says."""
    strategies: frozenset[str] = frozenset()
    """Of strategic merge patch: merge, replace, retainKeys."""
    merge_key: str = ""
    go: str = ""
    """The Go type that an error names."""

    @property
    def is_atomic(self) -> bool:
        """One value, owned as a whole."""
        if self.type == "list":
            return self.list_type == "atomic"
        if self.type == "ref" and not self.map_type:
            return definition(self.ref).map_type == "atomic"
        return self.map_type == "atomic"


@dataclass(frozen=True, slots=True)
class Definition:
    """A structure, or (when it has a node) another name for a type."""

    name: str
    fields: Mapping[str, Node] = field(default_factory=dict)
    kinds: tuple[GroupVersionKind, ...] = ()
    map_type: str = "granular"
    node: Node | None = None
    is_open: bool = False
    """Fields that it does not name are kept: what they hold shows by itself."""

    @property
    def go(self) -> str:
        """The Go type, as errors name it: v1.ServiceSpec."""
        return ".".join(self.name.split(".")[-2:])

    @property
    def kind(self) -> str:
        return self.name.rpartition(".")[2]


class UnknownDefinition(KeyError):
    """No such definition in schema.json."""


@cache
def _source() -> Tree:
    path = HERE / "schema.json"
    try:
        found: Tree = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise RuntimeError(f"{path} is missing: run `python hatch_build.py` in the source tree") from None
    return found


@cache
def _descriptions() -> Mapping[str, Mapping[str, str]]:
    found: Mapping[str, Mapping[str, str]] = orjson.loads((HERE / "descriptions.json").read_bytes())
    return found


def names() -> tuple[str, ...]:
    """Every definition there is."""
    return tuple(_source())


def is_known(name: str) -> bool:
    return name in _added or name in _source()


def is_built_in(name: str) -> bool:
    """Whether a definition stays what it is."""
    return name in _source() and name not in _added


_added: Final[dict[str, Definition]] = {}


def define(found: Iterable[Definition]) -> None:
    """Make more structures known, under names that nothing else has: those of custom resources."""
    _added.update({each.name: each for each in found})


def definition(name: str) -> Definition:
    """The definition of a full name, e.g. io.k8s.api.core.v1.Service."""
    return _added.get(name) or _built_in(name)


@cache
def _built_in(name: str) -> Definition:
    try:
        source = _source()[name]
    except KeyError:
        raise UnknownDefinition(name) from None
    if "f" not in source:
        return Definition(name, node=_node(source))
    return Definition(
        name,
        {key: _node(node) for key, node in source["f"].items()},
        tuple(GroupVersionKind(*kind) for kind in source.get("gvk", ())),
        source.get("mt", "granular"),
    )


def _node(source: Tree) -> Node:
    go = source.get("go") or ""
    inner = _node(source["of"]) if "of" in source else None
    if inner is not None and go:
        inner = _named(inner, go)
    return Node(
        type=source["t"],
        of=inner,
        ref=source.get("ref", ""),
        required="r" in source,
        written="w" in source,
        omit_zero="z" in source,
        pointer="p" in source,
        list_type=source.get("lt", "atomic"),
        keys=tuple(source.get("k", ())),
        map_type=source.get("mt", ""),
        strategies=frozenset(source["ps"].split(",")) if "ps" in source else frozenset(),
        merge_key=source.get("pk", ""),
        go=go or _go(source, inner),
    )


GO_SCALARS: Final = {
    "double": "float64",
    "bytes": "[]uint8",
    "time": "v1.Time",
    "microtime": "v1.MicroTime",
    "quantity": "resource.Quantity",
    "intstr": "intstr.IntOrString",
    "raw": "runtime.RawExtension",
    "any": "interface {}",
}
GO_PREFIXES: Final = {"list": "[]", "map": "map[string]"}


def _go(source: Tree, inner: Node | None) -> str:
    kind: str = source["t"]
    if kind == "ref":
        return ".".join(source["ref"].split(".")[-2:])
    if inner is not None:
        return GO_PREFIXES[kind] + inner.go
    return GO_SCALARS.get(kind, kind)


def _named(inner: Node, go: str) -> Node:
    """An element whose type is named only where the list or map is."""
    element = go.removeprefix("[]") if go.startswith("[]") else go.rpartition("]")[2]
    if inner.type not in SCALARS or "." not in element or not go.startswith(("[]", "map[")):
        return inner
    return Node(type=inner.type, go=element)


@cache
def kinds() -> Mapping[GroupVersionKind, str]:
    """Every kind of its own (not those shared by all groups, as DeleteOptions), and its definition's name."""
    found: dict[GroupVersionKind, str] = {}
    for name, source in _source().items():
        if len(source.get("gvk", ())) == 1:
            found[GroupVersionKind(*source["gvk"][0])] = name
    return found


def descriptions(name: str) -> Mapping[str, str]:
    """The texts of a definition: "" is its own, the others its fields'. Loaded for OpenAPI only."""
    return _descriptions().get(name, {})


def forget_descriptions() -> None:
    """Give their memory back; they are read again when asked for."""
    _descriptions.cache_clear()
