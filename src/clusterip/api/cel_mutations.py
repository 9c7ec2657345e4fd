"""Expressions that say how an object is to be changed: `Object{...}` and `JSONPatch{...}` as maps.

Stage: none; pure.  In: an expression.  Out: one that gives plain maps, its program; CelError where names do not fit.
Rules: the library knows no such types, so `Object.spec{replicas: 1}` becomes `{"replicas": 1}` before it is compiled;
       texts stay as they are; below an Object the type must be named after its field.
Limits: which fields there are is found when the change is made.
Truth: apiserver's pkg/cel/mutation and pkg/admission/plugin/policy/mutating of 1.36; KEP-3962.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from clusterip.api import cel, cel_policies
from clusterip.api.cel import CelError

ROOT: Final = "Object"
FIELDS: Final = {"applyConfiguration": "ApplyConfiguration", "jsonPatch": "JSONPatch"}
_TOKEN = re.compile(
    r"""(?P<text>[rR]?(?:\"\"\"(?:.|\n)*?\"\"\"|'''(?:.|\n)*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
    |(?P<comment>//[^\n]*)
    |(?P<type>(?<![\w.])(?:Object(?:\s*\.\s*[A-Za-z_]\w*)*|JSONPatch)\s*\{)
    |(?P<key>\??\s*(?:`[^`]+`|[A-Za-z_]\w*)\s*:)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<mark>.|\n)""",
    re.VERBOSE,
)
OPENING, CLOSING = "([{", ")]}"


@dataclass(slots=True)
class _Open:
    """One pair of brackets that is open."""

    path: str | None = None
    """The type's name where it is an object; None: something else."""
    awaits_key: bool = False
    key: str = ""


@lru_cache(maxsize=1024)
def plain(text: str) -> str:
    """The expression with maps in place of objects."""
    return "".join(_plain(text))


def _plain(text: str) -> Iterator[str]:
    opened = [_Open()]
    position = 0
    while position < len(text):
        here = opened[-1]
        found = _TOKEN.match(text, position)
        assert found is not None
        kind, token = found.lastgroup, found[0]
        if kind == "key" and not (here.path is not None and here.awaits_key):
            token = token[:1] if not token[0].isalpha() and token[0] != "_" else re.match(r"\w+", token)[0]  # type: ignore[index]
            kind = "mark"
        position += len(token)
        if kind == "type":
            path = re.sub(r"\s", "", token[:-1])
            _check(opened, path)
            opened.append(_Open(path, awaits_key=True))
            yield "{"
        elif kind == "key":
            here.key, here.awaits_key = token.strip("?: \t\r\n`"), False
            yield f'{"?" if token.startswith("?") else ""}"{here.key}":'
        else:
            if kind == "mark" and token in OPENING:
                opened.append(_Open())
            elif kind == "mark" and token in CLOSING and len(opened) > 1:
                opened.pop()
            elif token == "," and here.path is not None:
                here.awaits_key = True
            yield token


def _check(opened: list[_Open], path: str) -> None:
    """An object in an object is named after the field that it is for."""
    if not path.startswith(ROOT):
        return
    around = next((each for each in reversed(opened) if each.path is not None), None)
    if around is not None and around.path is not None and around.path.startswith(ROOT):
        wanted = f"{around.path}.{around.key}"
        if path != wanted:
            raise CelError(
                f"type mismatch: unexpected type name {path!r}, expected {wanted!r}, which matches field name"
            )


def compiled(text: str) -> cel.Program:
    """The program of an expression that gives maps; CelError says why there is none."""
    return cel_policies.compiled(plain(text), "DYN")
