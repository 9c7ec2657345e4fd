"""What server-side apply does to trees of a known structure: check, list the fields of, merge, take fields out.

Stage: none; pure.  In: trees as they were written (nothing defaulted, nothing decoded) and the node that describes
them; no node: lists are one value, maps are not.  Out: new trees (which may share parts with the old), field sets,
errors in upstream's words.
Rules: a list that is neither set nor map, and a structure that is atomic, is one value.
Truth: sigs.k8s.io/structured-merge-diff, package typed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Final

import orjson

from clusterip.api.errors import quoted
from clusterip.api.fieldsets import ABSENT, KEY_DEFAULTS, SELF, Fields, element_of
from clusterip.api.schema import Definition, Node, definition

NUMBERS: Final = frozenset({"int32", "int64", "double"})
TEXTS: Final = frozenset({"string", "bytes"})


def _structure(node: Node | None) -> Definition | None:
    return definition(node.ref) if node is not None and node.type == "ref" else None


def _child(node: Node | None, key: str) -> Node | None:
    """The node of a field of a structure, or of an entry of a map."""
    known = _structure(node)
    return known.fields.get(key) if known else node.of if node is not None and node.type == "map" else None


def _is_one_value(value: Any, node: Node | None) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    if node is None or node.type == "deduced":
        return isinstance(value, list)
    return node.type not in ("ref", "map", "list") or node.is_atomic


# --- check -----------------------------------------------------------------------------------------------------------


def faults(value: Any, node: Node | None) -> list[str]:
    """What a tree has that its structure does not allow: `.spec.selectr: field not declared in schema`."""
    return list(_faults(value, node, ""))


def told(found: list[str]) -> str:
    """Several faults as one text."""
    return found[0] if len(found) == 1 else "errors:\n" + "\n".join(f"  {fault}" for fault in found)


def _faults(value: Any, node: Node | None, path: str) -> Iterator[str]:
    if node is not None and node.type == "ref" and (other := definition(node.ref).node) is not None:
        node = other  # another name for a type
    if value is None or node is None:
        return
    if node.type in ("ref", "map"):
        yield from _map_faults(value, node, path)
    elif node.type == "list":
        yield from _list_faults(value, node, path)
    elif wrong := _scalar_fault(value, node.type):
        yield f"{path}: {wrong}"


def _map_faults(value: Any, node: Node, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: expected map, got {_shown(value)}"
        return
    known = _structure(node)
    for key, inner in value.items():
        if known is not None and known.fields and not known.is_open and key not in known.fields:
            yield f"{path}.{key}: field not declared in schema"
        else:
            yield from _faults(inner, _child(node, key), f"{path}.{key}")


def _list_faults(value: Any, node: Node, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected list, got {_shown(value)}"
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        element = f"[{index}]"
        if node.list_type != "atomic":
            if wrong := _element_fault(item, node):
                yield f"{path}: element {index}: {wrong}"
                continue
            name = element_of(item, node)
            element = element_text(name)
            if name in seen:
                yield f"{path}: duplicate entries for key {element}"
            seen.add(name)
        yield from _faults(item, node.of, path + element)


def _element_fault(item: Any, node: Node) -> str:
    """Why an item of a set or map has no place in it."""
    if node.list_type == "set":
        return "" if isinstance(item, (str, int, float)) else "only scalars may be in a set"
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    missing = [key for key in node.keys if key not in item and key not in KEY_DEFAULTS]
    if len(missing) < len(node.keys):
        return ""
    shown = ", ".join(quoted(key) for key in node.keys)
    return f"associative list with keys has an element that omits key field {shown} (and doesn't have default value)"


def _scalar_fault(value: Any, kind: str) -> str:
    if kind in NUMBERS and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return f"expected numeric (int or float), got {_go_name(value)}"
    if kind in TEXTS and not isinstance(value, str):
        return f"expected string, got {_shown(value)}"
    if kind == "bool" and not isinstance(value, bool):
        return f"expected boolean, got {_shown(value)}"
    return ""


def _go_name(value: Any) -> str:
    names = {bool: "bool", str: "string", dict: "map[string]interface {}", list: "[]interface {}"}
    return names.get(type(value), "int64")


def _shown(value: Any) -> str:
    """A value as Go prints the wrapper that upstream keeps it in."""
    text = orjson.dumps(value).decode() if not isinstance(value, (dict, list)) else f"{_go_name(value)}{{...}}"
    return f"&value.valueUnstructured{{Value:{text}}}"


# --- paths -----------------------------------------------------------------------------------------------------------


def element_text(element: str) -> str:
    """A path element as an error shows it: `.spec`, `[name="a"]`, `[="a"]`."""
    kind, _, rest = element.partition(":")
    if kind == "f":
        return f".{rest}"
    value = orjson.loads(rest)
    if kind == "v":
        return f"[={orjson.dumps(value).decode()}]"
    return "[" + ",".join(f"{key}={orjson.dumps(inner).decode()}" for key, inner in sorted(value.items())) + "]"


def paths(fields: Fields, prefix: str = "") -> Iterator[str]:
    """The members of a set, each as text: `.spec.ports[port=80,protocol="TCP"].name`."""
    for element, node in fields.items():
        if element != SELF:
            path = prefix + element_text(element)
            if not node or SELF in node:
                yield path
            yield from paths(node, path)


# --- sets ------------------------------------------------------------------------------------------------------------


def fields_of(value: Any, node: Node | None) -> Fields:
    """The fields that a tree says: leaves, list items, entries of maps; not the structures on the way to them."""
    found: Fields = {}
    if isinstance(value, dict):
        known = _structure(node)
        for key, inner in value.items():
            below = _leaf_or_below(inner, _child(node, key))
            if below is None:
                continue
            named = known is not None and key in known.fields
            found[f"f:{key}"] = below if named or not below else {SELF: {}, **below}
    elif isinstance(value, list) and node is not None:
        for item in value:
            below = _leaf_or_below(item, node.of)
            found[element_of(item, node)] = {SELF: {}, **below} if below else {}
    return found


def _leaf_or_below(value: Any, node: Node | None) -> Fields | None:
    """{}: a field of its own; else what is below; None: nothing to own (an empty list)."""
    if value is None or value == {} or _is_one_value(value, node):
        return {}
    return fields_of(value, node) or None


def with_structures(fields: Fields, node: Node | None) -> Fields:
    """The set, with the structures on the way to its fields as members."""
    known = _structure(node)
    out: Fields = {}
    for element, below in fields.items():
        if element == SELF or not below:
            out[element] = below
            continue
        name = element.removeprefix("f:")
        child = _child(node, name) if element.startswith("f:") else node.of if node is not None else None
        inner = with_structures(below, child)
        named = element.startswith("f:") and known is not None and name in known.fields
        out[element] = {SELF: {}, **inner} if named else inner
    return out


def without(value: Any, gone: Fields, node: Node | None) -> Any:
    """A tree without the members of a set and what is below them; what is left empty by that goes as well."""
    if _is_one_value(value, node) or not value:
        return None
    if isinstance(value, dict):
        kept = {key: _left(inner, gone.get(f"f:{key}"), _child(node, key)) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner is not ABSENT} or None
    assert node is not None
    items = [_left(item, gone.get(element_of(item, node)), node.of) for item in value]
    return [item for item in items if item is not ABSENT] or None


def _left(value: Any, gone: Fields | None, node: Node | None) -> Any:
    if gone is None:
        return value
    if not gone or SELF in gone:
        return ABSENT
    found = without(value, gone, node)
    return ABSENT if found is None else found


# --- merge -----------------------------------------------------------------------------------------------------------


def merged(live: Any, wanted: Any, node: Node | None) -> Any:
    """A live tree with what a configuration wants: its values win, what it does not say stays."""
    if wanted is ABSENT or (live is not ABSENT and not wanted and live and not _is_one_value(live, node)):
        return live  # an empty map or list in a configuration empties nothing
    if live is ABSENT or _is_one_value(wanted, node) or type(live) is not type(wanted) or not live:
        return wanted
    if isinstance(wanted, dict):
        keys = {**live, **wanted}
        return {key: merged(live.get(key, ABSENT), wanted.get(key, ABSENT), _child(node, key)) for key in keys}
    assert node is not None
    return list(_merged_items(live, wanted, node))


def _merged_items(live: list[Any], wanted: list[Any], node: Node) -> Iterator[Any]:
    """Items of both, in the configuration's order; those that only the live list has stay before what they preceded."""
    left = [(element_of(item, node), item) for item in live]
    found, asked = dict(left), {element_of(item, node) for item in wanted}
    position = 0
    for item in wanted:
        element = element_of(item, node)
        position = yield from _only_live(left, position, asked, until=element if element in found else None)
        yield merged(found.get(element, ABSENT), item, node.of)
    yield from (item for name, item in left[position:] if name not in asked)


def _only_live(
    left: list[tuple[str, Any]], position: int, asked: set[str], until: str | None
) -> Generator[Any, None, int]:
    """Live items that nobody asked for, up to the next shared one; the position after them is returned."""
    while position < len(left):
        name, item = left[position]
        if name not in asked:
            yield item
        elif until is None:
            return position
        position += 1
        if name == until:
            break
    return position
