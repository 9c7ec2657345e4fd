"""The JSONPath that CustomResourceDefinitions use for columns, scale and selectable fields.

Stage: none; pure.  In: a path as `.spec.addresses[0]` or `.status.conditions[?(@.type=="Ready")].status`.
Out: the values that it leads to; PathError for what is no such path.
Rules: names, quoted names, indices, slices of one, `*`, and a filter that compares one field with one value.
Truth: client-go's util/jsonpath, of which this is the part that such paths need.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

Step: TypeAlias = Callable[[Any], Iterator[Any]]

_NAME = re.compile(r"\.((?:\\.|[^.\[\]\\])+)")
_BRACKET = re.compile(r"\[(?:'([^']*)'|\"([^\"]*)\"|(-?\d+)|(\*)|\?\((.*?)\))\]")
_FILTER = re.compile(r"@\.?([^=!<>\s]+)\s*(==|!=)\s*(?:\"([^\"]*)\"|'([^']*)'|(true|false|-?\d+))")


class PathError(ValueError):
    """A text is not a path of this dialect."""


@dataclass(frozen=True, slots=True)
class Path:
    """A path, ready to be followed."""

    text: str
    steps: tuple[Step, ...]

    def values(self, tree: Any) -> list[Any]:
        """Everything that the path leads to, in order."""
        found: Iterable[Any] = (tree,)
        for step in self.steps:
            found = [inner for value in found for inner in step(value)]
        return list(found)

    def first(self, tree: Any) -> Any:
        """The first value, or None."""
        return next(iter(self.values(tree)), None)


def parse(text: str) -> Path:
    """`.spec.addresses[0]`, with or without the braces of kubectl."""
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    steps: list[Step] = []
    position = 0
    if inner and inner[0] not in ".[":
        raise PathError(f"{text} must begin with a dot")
    while position < len(inner) and inner != ".":
        if found := _NAME.match(inner, position):
            name = re.sub(r"\\(.)", r"\1", found[1])
            steps.append(_every if name == "*" else _member(name))
        elif found := _BRACKET.match(inner, position):
            steps.append(_bracket(found, text))
        else:
            raise PathError(f"{text} cannot be read from {inner[position:]!r} on")
        position = found.end()
    return Path(text, tuple(steps))


def shown(value: Any) -> str:
    """A value as a text column shows it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _member(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _every(value: Any) -> Iterator[Any]:
    yield from value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _index(number: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= number < len(value):
            yield value[number]

    return step


def _bracket(found: re.Match[str], text: str) -> Step:
    single, double, number, star, condition = found.groups()
    if star:
        return _every
    if number is not None:
        return _index(int(number))
    if condition is not None:
        return _filter(condition, text)
    return _member(single if single is not None else double)


def _filter(condition: str, text: str) -> Step:
    found = _FILTER.fullmatch(condition.strip())
    if not found:
        raise PathError(f"{text} has a condition that cannot be read: {condition}")
    path, operator, double, single, literal = found.groups()
    wanted = orjson.loads(literal) if literal else double if double is not None else single
    names = path.split(".")

    def step(value: Any) -> Iterator[Any]:
        for item in value if isinstance(value, list) else ():
            inner = item
            for name in names:
                inner = inner.get(name) if isinstance(inner, dict) else None
            if (inner == wanted) == (operator == "=="):
                yield item

    return step
