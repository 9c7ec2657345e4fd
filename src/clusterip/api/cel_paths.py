"""Fields that rules name, held against the schema.

Stage: none; pure.  In: an expression or a field path, a schema.  Out: what the schema does not have.
Rules: only what follows `self` and `oldSelf` directly is followed, as far as the schema says it; a variable of a macro
       is not, so that such a field is found when an object is judged.
Truth: apiextensions-apiserver, pkg/apiserver/schema/cel/compilation.go and validation.go (field paths).
"""

from __future__ import annotations

import re
from typing import Any, Final

from clusterip.api.meta import Tree
from clusterip.api.structural import EMBEDDED

_TEXTS: Final = re.compile(r"""r?("(\\.|[^"\\])*"|'(\\.|[^'\\])*')""")
_CHAINS: Final = re.compile(r"(?<![\w.])(?:self|oldSelf)((?:\.[A-Za-z_]\w*)+)(\s*\()?")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\]")
STRING: Final[Tree] = {"type": "string"}
HEAD: Final[Tree] = {
    "apiVersion": STRING,
    "kind": STRING,
    "metadata": {"type": "object", "properties": {"name": STRING, "generateName": STRING}},
}
TIMED: Final = {"date-time": "timestamp", "duration": "duration"}
LISTS: Final = {"indexOf": "listIndexOf", "lastIndexOf": "listLastIndexOf"}
_UNESCAPES: Final = (("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"), ("__underscores__", "__"))


def undefined(text: str, schema: Tree) -> str:
    """The compiler's complaint of the first field that the schema does not have; "" for none."""
    plain = _TEXTS.sub(lambda found: '"' + " " * (len(found[0]) - 2) + '"', text)
    for chain in _CHAINS.finditer(plain):
        names = chain[1].split(".")[1:]
        if chain[2]:
            names.pop()  # a function of what stands before it
        place = chain.start(1)
        at: Any = schema
        for name in names:
            below = _below(at, name)
            if below is None:
                break
            if below is _NOTHING:
                asked = plain[: chain.start()].endswith("has(") and name == names[-1]
                return _complaint(text, chain.start() - 1 if asked else place, f"undefined field '{name}'")
            at = below
            place += len(name) + 1
    return ""


def typed(text: str, schema: Tree) -> str:
    """The expression with times and durations read as such, and with the functions that lists have."""
    plain = _TEXTS.sub(lambda found: '"' + " " * (len(found[0]) - 2) + '"', text)
    for chain in reversed(list(_CHAINS.finditer(plain))):
        names = chain[1].split(".")[1:]
        last = names.pop() if chain[2] else ""
        at: Tree | None = schema
        for name in names:
            at = _below(at, name) if at else at
        if not at:
            continue
        end = chain.end(1) - (len(last) + 1 if last else 0)
        if last in LISTS and at.get("type") == "array":
            text = f"{text[: end + 1]}{LISTS[last]}{text[chain.end(1) :]}"
        elif at.get("format") in TIMED and at.get("type") == "string" and not plain[: chain.start()].endswith("has("):
            text = f"{text[: chain.start()]}{TIMED[at['format']]}({text[chain.start() : end]}){text[end:]}"
    return text


_NOTHING: Final[Tree] = {}


def _below(schema: Tree, name: str) -> Tree | None:
    """A field's schema; `_NOTHING` where there is none, None where the schema does not say."""
    if schema.get("type") != "object" or isinstance(schema.get("additionalProperties"), dict):
        return None
    properties = _properties(schema)
    for key in (name, _unescaped(name)):
        if key in properties:
            found: Tree = properties[key]
            return found
    return _NOTHING


def _properties(schema: Tree) -> Tree:
    found: Tree = schema.get("properties") or {}
    return {**found, **HEAD} if schema.get(EMBEDDED) or schema.get("x-kubernetes-embedded-resource") else found


def _unescaped(name: str) -> str:
    if name.startswith("__") and name.endswith("__") and name[2:-2].isalpha():
        return name[2:-2]
    for escape, text in _UNESCAPES:
        name = name.replace(escape, text)
    return name


def _complaint(text: str, place: int, what: str) -> str:
    """As the compiler shows it: line, column, the line, a mark below."""
    line = text.count("\n", 0, place)
    start = text.rfind("\n", 0, place) + 1
    column = place - start
    shown = text.split("\n")[line]
    return f"compilation failed: ERROR: <input>:{line + 1}:{column + 1}: {what}\n | {shown}\n | {'.' * column}^"


def is_path(path: str, schema: Tree) -> bool:
    """Whether a rule's fieldPath leads somewhere."""
    at, end = schema, 0
    for step in _STEP.finditer(path):
        if step.start() != end:
            return False
        end = step.end()
        name = step[1] or step[2] or ""
        below = (at.get("properties") or {}).get(name, at.get("additionalProperties"))
        if not isinstance(below, dict):
            return False
        at = below
    return bool(path) and end == len(path)
