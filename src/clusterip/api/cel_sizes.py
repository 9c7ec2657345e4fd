"""How large what a schema describes can be: what the costs of rules go by.

Stage: none; pure.  In: schemas.  Out: the types that rules see, each with how many characters, items or entries it has
at most and how few bytes it takes.
Rules: what a schema does not limit is limited by the size of a request.
Truth: apiserver's pkg/cel/common/schemas.go and pkg/cel/limits.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from clusterip.api.meta import Tree
from clusterip.api.structural import EMBEDDED, INT_OR_STRING

REQUEST: Final = 3 * 1024 * 1024
BYTES_OF_A_CHARACTER: Final = 4
TIMES: Final = {"duration": ("duration", 3, 32), "date": ("timestamp", 12, 12), "date-time": ("timestamp", 21, 32)}
"""By format: type, fewest bytes, most characters."""
SCALARS: Final = {"boolean": ("bool", 4), "number": ("double", 1), "integer": ("int", 1)}
PAIR: Final = 6  # quotes, a key's one letter, a colon, a comma: what an entry takes beside its value
FIELD: Final = 4  # what a field takes beside its name and value


@dataclass(frozen=True, slots=True)
class Declared:
    """A type as rules see it."""

    kind: str
    most: int = 0
    least: int = 2
    item: Declared | None = None
    fields: Mapping[str, Declared] = field(default_factory=dict)


TEXT: Final = Declared("string")
HEAD: Final = {
    "apiVersion": Declared("string", REQUEST - 2),
    "kind": Declared("string", REQUEST - 2),
    "metadata": Declared(
        "object",
        fields={"name": Declared("string", REQUEST - 2), "generateName": Declared("string", REQUEST - 2)},
    ),
}


def declared(schema: Tree, escaped: Callable[[str], str]) -> Declared | None:
    """The type that a schema makes; None for what no rule sees. `escaped` says how a field is named."""
    kind = schema.get("type") or ""
    if schema.get(INT_OR_STRING):
        return Declared("dyn", _text_limit(schema), 1)
    if kind == "array":
        item = declared(schema["items"], escaped) if isinstance(schema.get("items"), dict) else None
        return item and Declared("list", _limit(schema, "maxItems", (REQUEST - 2) // (item.least + 1)), 2, item)
    if kind == "object":
        return _object(schema, escaped)
    if kind == "string":
        return _text(schema)
    return Declared(SCALARS[kind][0], 0, SCALARS[kind][1]) if kind in SCALARS else None


def _object(schema: Tree, escaped: Callable[[str], str]) -> Declared | None:
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        item = declared(more, escaped)
        return item and Declared("map", _limit(schema, "maxProperties", (REQUEST - 2) // (item.least + PAIR)), 2, item)
    needed = set(schema.get("required") or ())
    found, least = {}, 2
    for name, inner in (schema.get("properties") or {}).items():
        below = declared(inner, escaped)
        if below is None:
            continue
        if said := escaped(name):
            found[said] = below
        if name in needed and inner.get("default") is None:
            least += len(name) + below.least + FIELD
    return Declared("object", 0, least, None, {**found, **HEAD} if schema.get(EMBEDDED) else found)


def _text(schema: Tree) -> Declared:
    kind = schema.get("format")
    if kind == "byte":
        return Declared("bytes", _limit(schema, "maxLength", REQUEST - 2))
    if kind in TIMES:
        word, least, most = TIMES[kind]
        return Declared(word, most, least)
    if schema.get("maxLength") is None and schema.get("enum"):
        return Declared("string", max(len(each.encode()) for each in [*schema["enum"], ""] if isinstance(each, str)))
    return Declared("string", _text_limit(schema))


def _text_limit(schema: Tree) -> int:
    limit = schema.get("maxLength")
    return REQUEST - 2 if limit is None else max(limit, 0) * BYTES_OF_A_CHARACTER


def _limit(schema: Tree, name: str, otherwise: int) -> int:
    limit = schema.get(name)
    return otherwise if limit is None else max(int(limit), 0)


def times(limit: int | None, schema: Tree) -> int | None:
    """How often what is below a schema can be there, given how often the schema's own value can; None: no limit."""
    name = {"array": "maxItems", "object": "maxProperties"}.get(schema.get("type") or "")
    if name is None or (name == "maxProperties" and schema.get("additionalProperties") is None):
        return limit
    own = schema.get(name)
    return None if own is None or limit is None else limit * max(int(own), 0)


def at_most(kind: Declared) -> int:
    """How often a value can be in a request that nothing else limits."""
    return REQUEST // (kind.least + 1)
