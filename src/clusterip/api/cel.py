"""Rules in CEL: compiled once, asked of values; the language is Google's own implementation.

Stage: none; pure.  In: an expression, variables as JSON.  Out: a value, or CelError with upstream's words.
Rules: where the library is missing (a machine that it is not built for) `is_available` says so and nothing is compiled;
       variables are dynamic but for plain values, so that a field that a schema does not have is found when it is read.
Truth: github.com/google/cel-spec; apiserver's pkg/cel/library (what Kubernetes adds, see cel_library.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from clusterip.api import cel_formats, cel_tree
from clusterip.api.cel_tree import Checked

_TEXTS = re.compile(r"""r?("(\\.|[^"\\])*"|'(\\.|[^'\\])*')""")
_NAMES = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_KIND = re.compile(r"^[A-Z_]+: ")
_NO_KEY = re.compile(r'^Key not found in map : "?(.*?)"?$')
_INDEX = re.compile(r"^Index error: index=(-?\d+) ")
_CONVERSION = re.compile(r"^String to (\w+) conversion failed")
KINDS = {"string": "STRING", "integer": "INT", "number": "DOUBLE", "boolean": "BOOL"}
OPTIONAL_OLD = "cel.bind(oldSelf, hasOldSelf ? optional.of(knownOldSelf) : optional.none(), "


class CelError(Exception):
    """An expression that cannot be, or that fails."""


def is_available() -> bool:
    """Whether rules are evaluated here."""
    return _library() is not None


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        from cel_expr_python import cel
    except ImportError:
        return None
    return cel


@lru_cache(maxsize=128)
def _environment(variables: tuple[tuple[str, str], ...]) -> Any:
    from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings

    from clusterip.api import cel_library

    cel = _library()
    extensions = [
        ext_strings.ExtStrings(),
        ext_optional.ExtOptional(),
        ext_bindings.ExtBindings(),
    ]
    types = {name: getattr(cel.Type, kind) for name, kind in variables}
    return cel.NewEnv(variables=types, extensions=extensions, functions=cel_library.declarations(cel))


@dataclass(frozen=True, slots=True)
class Program:
    """An expression ready to be asked."""

    text: str
    names: frozenset[str]
    compiled: Any

    def checked(self) -> Checked:
        """The expression as the compiler understood it."""
        return cel_tree.checked(self.compiled.serialize())

    def ask(self, variables: dict[str, Any]) -> Any:
        """Its value; CelError when it has none."""
        try:
            value = self.compiled.eval(data=variables)
        except (RuntimeError, ValueError, TypeError) as error:
            raise CelError(_told(str(error))) from None
        if value.type().name() == "ERROR" or _is_error(value):
            raise CelError(_told(str(value.plain_value())))
        return value.plain_value()


def _is_error(value: Any) -> bool:
    return bool(value.type() == _library().Type.ERROR)


def _told(text: str) -> str:
    """A failure in the words of the implementation that upstream uses."""
    found = _KIND.sub("", text)
    if key := _NO_KEY.match(found):
        return f"no such key: {key[1]}"
    if "overload" in found.lower():
        return "no such overload"
    if index := _INDEX.match(found):
        return f"index out of bounds: {index[1]}"
    if kind := _CONVERSION.match(found):
        return f"type conversion error from 'string' to 'google.protobuf.{kind[1]}'"
    return {"divide by zero": "division by zero"}.get(found, found)


@lru_cache(maxsize=4096)
def compiled(text: str, variables: tuple[tuple[str, str], ...], gives: str) -> Program:
    """An expression over typed variables that gives a `gives` (BOOL, STRING); CelError says why not."""
    try:
        made = _environment(variables).compile(cel_formats.written(text))
    except RuntimeError as error:
        raise CelError(f"compilation failed: {_trimmed(str(error))}") from None
    if gives != "DYN" and made.return_type().name() not in (gives, "DYN"):
        word = "a bool" if gives == "BOOL" else "a string"
        raise CelError(f"must evaluate to {word}")
    return Program(text, names_in(text), made)


def _trimmed(text: str) -> str:
    return _KIND.sub("", text).rsplit(" [", 1)[0]


def names_in(text: str) -> frozenset[str]:
    """The names that an expression uses, texts in it aside."""
    return frozenset(_NAMES.findall(_TEXTS.sub('""', text)))


def kind_of(schema: dict[str, Any]) -> str:
    """How a value of a schema is declared."""
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") in ("date", "date-time", "duration", "byte"):
        return "DYN"
    return KINDS.get(schema.get("type") or "", "DYN")
