"""Selectors: which objects, by label or by field.

Stage: none; values.  In: a query parameter's text, or a LabelSelector tree.
Out: frozen selectors; ApiError 400 in upstream's words.
Rules: pure; a selector is checked when made and never fails when asked.
Truth: apimachinery's labels and fields packages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from clusterip.api import names
from clusterip.api.errors import ApiError, FieldError, aggregate, invalid, quoted
from clusterip.api.meta import Tree

Labels = Mapping[str, str]

# --- labels ----------------------------------------------------------------------------------------------------------


class Requirement(NamedTuple):
    """One condition on one label. Values are sorted."""

    key: str
    operator: str
    """= != in notin exists ! gt lt (== is =)"""
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        return CONDITIONS[self.operator](labels.get(self.key), self.values)

    def __str__(self) -> str:
        if self.operator in ("exists", "!"):
            return f"{self.operator.removeprefix('exists')}{self.key}"
        if self.operator in ("in", "notin"):
            return f"{self.key} {self.operator} ({','.join(self.values)})"
        return f"{self.key}{SIGNS.get(self.operator, self.operator)}{','.join(self.values)}"


SIGNS: Final = {"gt": ">", "lt": "<"}
INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)


def _integer(text: str) -> int | None:
    """What Go's ParseInt makes of it: 64 bits, digits alone."""
    if not INTEGER.fullmatch(text):
        return None
    number = int(text) if len(text) <= 20 else 2**64
    return number if -(2**63) <= number < 2**63 else None


def _compared(found: str | None, values: tuple[str, ...], greater: bool) -> bool:
    have, want = _integer(found or ""), _integer(values[0])
    return have is not None and want is not None and (have > want if greater else have < want)


CONDITIONS: Final[dict[str, Callable[[str | None, tuple[str, ...]], bool]]] = {
    "=": lambda found, values: found == values[0],
    "in": lambda found, values: found in values,
    "!=": lambda found, values: found != values[0],
    "notin": lambda found, values: found not in values,
    "exists": lambda found, values: found is not None,
    "!": lambda found, values: found is None,
    "gt": lambda found, values: _compared(found, values, True),
    "lt": lambda found, values: _compared(found, values, False),
}


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements hold; without any, everything is selected."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    """Selects no object at all: what a null LabelSelector does."""

    def matches(self, labels: Labels | None) -> bool:
        if self.nothing:
            return False
        found = labels or {}
        return all(requirement.matches(found) for requirement in self.requirements)

    def __bool__(self) -> bool:
        """False when everything is selected."""
        return self.nothing or bool(self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


NOTHING: Final = LabelSelector(nothing=True)


OPERATORS: Final = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def from_label_selector(tree: Tree | None) -> LabelSelector:
    """The selector of a LabelSelector object; ValueError when it is not valid. Null selects nothing, {} everything."""
    if tree is None:
        return NOTHING
    found = [_checked(key, "=", [value]) for key, value in (tree.get("matchLabels") or {}).items()]
    for expression in tree.get("matchExpressions") or ():
        operator = expression.get("operator", "")
        if operator not in OPERATORS:
            raise ValueError(f"{quoted(operator)} is not a valid label selector operator")
        found.append(_checked(expression.get("key", ""), OPERATORS[operator], expression.get("values") or []))
    return LabelSelector(tuple(sorted(found)))


@lru_cache(maxsize=512)
def parse_labels(text: str) -> LabelSelector:
    """The selector of a query's labelSelector; ApiError 400 when it cannot be understood."""
    try:
        return LabelSelector(tuple(sorted(_LabelParser(text).parse())))
    except ValueError as error:
        raise ApiError.bad_request(str(error)) from None


WANTED: Final[dict[str, tuple[Callable[[int], bool], str]]] = {
    "in": (lambda n: n > 0, "for 'in', 'notin' operators, values set can't be empty"),
    "notin": (lambda n: n > 0, "for 'in', 'notin' operators, values set can't be empty"),
    "=": (lambda n: n == 1, "exact-match compatibility requires one single value"),
    "!=": (lambda n: n == 1, "exact-match compatibility requires one single value"),
    "exists": (lambda n: n == 0, "values set must be empty for exists and does not exist"),
    "!": (lambda n: n == 0, "values set must be empty for exists and does not exist"),
    "gt": (lambda n: n == 1, "for 'Gt', 'Lt' operators, exactly one value is required"),
    "lt": (lambda n: n == 1, "for 'Gt', 'Lt' operators, exactly one value is required"),
}


def _checked(key: str, operator: str, values: Iterable[str]) -> Requirement:
    """The requirement; ValueError with all that is wrong with it."""
    found = tuple(values)
    errors = [*_key_errors("key", key), *_value_errors(key, operator, found)]
    if errors:
        raise ValueError(aggregate(errors))
    return Requirement(key, operator, tuple(sorted(set(found))))


def _key_errors(path: str, key: str) -> list[FieldError]:
    reasons = names.qualified_name(key)
    return [invalid(path, key, "; ".join(reasons))] if reasons else []


def _value_errors(key: str, operator: str, values: tuple[str, ...]) -> list[FieldError]:
    is_right, why = WANTED[operator]
    errors = [] if is_right(len(values)) else [invalid("values", list(values), why)]
    if operator in ("gt", "lt"):
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        errors += [invalid(f"values[{i}]", v, why) for i, v in enumerate(values) if _integer(v) is None]
    for index, value in enumerate(values):
        if reasons := names.label_value(value):
            errors.append(invalid(f"values[{index}][{key}]", value, "; ".join(reasons)))
    return errors


SPECIAL: Final = "=!(),><"
WHITE: Final = " \t\r\n"
TOKENS: Final = frozenset({")", ",", "!", "==", "=", ">", "in", "<", "!=", "notin", "("})
BINARY: Final = {"in": "in", "notin": "notin", "=": "=", "==": "=", "!=": "!=", ">": "gt", "<": "lt"}
EXPECTED: Final = "in, notin, =, ==, !=, gt, lt"
END: Final = ("end", "")


class _LabelParser:
    """key=value, key!=value, key in (a, b), key notin (a), key, !key, key>1, key<1; joined by commas."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_scan(text), END]
        self._position = 0

    def _next_values(self) -> tuple[str, str]:
        """The next token where values stand: keywords are identifiers there."""
        kind, literal = self._tokens[self._position]
        return ("id" if kind in ("in", "notin") else kind), literal

    def _take(self) -> tuple[str, str]:
        token = self._next_values()
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token

    def _take_operator(self) -> tuple[str, str]:
        token = self._tokens[self._position]
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        while (kind := self._next_values()[0]) != "end":
            if kind not in ("id", "!"):
                raise ValueError(f"found '{self._next_values()[1]}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            kind, literal = self._take()
            if kind == "end":
                break
            if kind != ",":
                raise ValueError(f"found '{literal}', expected: ',' or 'end of string'")
            if self._next_values()[0] not in ("id", "!"):
                raise ValueError(f"found '{self._next_values()[1]}', expected: identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        kind, key = self._take()
        negated = kind == "!"
        if negated:
            kind, key = self._take()
        if kind != "id":
            raise ValueError(f"found '{key}', expected: identifier")
        if errors := _key_errors("<nil>", key):
            raise ValueError(aggregate(errors))
        if negated or self._next_values()[0] in ("end", ","):
            return _checked(key, "!" if negated else "exists", ())
        return self._binary(key)

    def _binary(self, key: str) -> Requirement:
        kind, literal = self._take_operator()
        if kind not in BINARY:
            raise ValueError(f"found '{literal}', expected: {EXPECTED}")
        operator = BINARY[kind]
        values = self._values() if operator in ("in", "notin") else self._exact_value()
        return _checked(key, operator, sorted(values))

    def _exact_value(self) -> set[str]:
        if self._next_values()[0] in ("end", ","):
            return {""}
        kind, literal = self._take()
        if kind != "id":
            raise ValueError(f"found '{literal}', expected: identifier")
        return {literal}

    def _values(self) -> set[str]:
        kind, literal = self._take()
        if kind != "(":
            raise ValueError(f"found '{literal}' expected: '('")
        kind, literal = self._next_values()
        if kind == ")":
            self._take()
            return {""}
        if kind not in ("id", ","):
            raise ValueError(f"found '{literal}', expected: ',', ')' or identifier")
        found = self._identifiers()
        if self._take()[0] != ")":
            raise ValueError(f"found '{literal}', expected: ')'")
        return found

    def _identifiers(self) -> set[str]:
        """Up to the closing parenthesis; nothing between two commas is the empty value."""
        found: set[str] = set()
        while True:
            kind, literal = self._take()
            following, after = self._next_values()
            if kind == "id":
                found.add(literal)
                if following == ")":
                    return found
                if following != ",":
                    raise ValueError(f"found '{after}', expected: ',' or ')'")
            elif kind == ",":
                found |= {""} if not found or following in (")", ",") else set()
                if following == ")":
                    return found
            else:
                raise ValueError(f"found '{literal}', expected: ',', or identifier")


def _scan(text: str) -> list[tuple[str, str]]:
    """(kind, literal): kinds are the tokens themselves, "id", or "error"."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text) and text[position] != "\0":
        if text[position] in WHITE:
            position += 1
        elif text[position] in SPECIAL:
            literal = _longest_symbol(text, position)
            found.append((literal, literal) if literal in TOKENS else ("error", literal))
            position += len(literal)
        else:
            end = position
            while end < len(text) and text[end] not in SPECIAL and text[end] not in WHITE and text[end] != "\0":
                end += 1
            literal = text[position:end]
            found.append((literal if literal in TOKENS else "id", literal))
            position = end
    return found


def _longest_symbol(text: str, position: int) -> str:
    two = text[position : position + 2]
    return two if two in TOKENS else text[position]


# --- fields ----------------------------------------------------------------------------------------------------------


class FieldTerm(NamedTuple):
    """One field equals a value, or does not."""

    field: str
    value: str
    equal: bool = True

    def __str__(self) -> str:
        return f"{self.field}{'=' if self.equal else '!='}{_escaped(self.value)}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All terms hold; without any, everything is selected."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, value_of: Callable[[str], str]) -> bool:
        """Whether an object is selected; value_of gives the text of each field that is named ("" when unset)."""
        return all((value_of(term.field) == term.value) is term.equal for term in self.terms)

    def exact(self, field: str) -> str | None:
        """The one value that the field must have, if the selector says so: metadata.name of a single object."""
        return next((term.value for term in self.terms if term.field == field and term.equal), None)

    def fields(self) -> tuple[str, ...]:
        return tuple(term.field for term in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


@lru_cache(maxsize=512)
def parse_fields(text: str) -> FieldSelector:
    """The selector of a query's fieldSelector; ApiError 400 when it cannot be understood."""
    parts = [part for part in sorted(_terms(text)) if part]
    return FieldSelector(tuple(_term(text, part) for part in parts))


def _terms(text: str) -> list[str]:
    """Split at commas without a backslash before them."""
    return re.findall(r"((?:\\.|[^,\\])*\\?)(?:,|$)", text, re.DOTALL)


def _term(text: str, part: str) -> FieldTerm:
    match = re.match(r"(.*?)(!=|==|=)(.*)", part, re.DOTALL)
    if match is None:
        raise ApiError.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
    return FieldTerm(match[1], _unescaped(match[3]), match[2] != "!=")


def _unescaped(text: str) -> str:
    out, rest = "", iter(text)
    for char in rest:
        if char == "\\":
            escaped = next(rest, "")
            if escaped not in ("\\", ",", "="):
                raise ApiError.bad_request(f"invalid field selector: invalid escape sequence: \\{escaped}")
            out += escaped
        elif char in ",=":
            raise ApiError.bad_request(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            out += char
    return out


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def check_fields(selector: FieldSelector, known: Iterable[str]) -> None:
    """ApiError 400 when a field is named that a kind cannot be selected by."""
    fields = tuple(known)
    for term in selector.terms:
        if term.field not in fields:
            shown = ", ".join(map(quoted, fields))
            raise ApiError.bad_request(f"{quoted(term.field)} is not a known field selector: only {shown}")
