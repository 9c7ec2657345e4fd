"""Go's regular expressions in Python's words: what a schema's `pattern` means.

Stage: none; pure.  In: an expression in RE2's syntax.  Out: a compiled expression of Python's, or PatternError.
Rules: whether a text matches is the same, which part of it matches need not be; letters, digits and blanks are ASCII's
       where Go says so.
Limits: a flag in the middle of a group holds from there to the group's end; of \\p{...} the general categories are
        known, and an expression with a script's name matches everything.
Truth: github.com/google/re2/wiki/Syntax; Go's regexp/syntax, whose error texts these are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import groupby
from typing import Final

POSIX: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\\x00-\\x7f",
    "blank": "\\t ",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t\\n\\v\\f\\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
KEPT: Final = "dDsSwWbBAafnrtv"
"""Letters behind a backslash that mean the same in both."""
MAX_REPEAT: Final = 1000
LAST: Final = 0x10FFFF
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_FLAGS = re.compile(r"\(\?([imsU]*(?:-[imsU]+)?)([:)])")
_NAMED = re.compile(r"\(\?P?<(\w+)>")
_PROPERTY = re.compile(r"\\([pP])(?:\{(\^?)(\w+)\}|(\w))")
_HEX = re.compile(r"\\x(?:\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{2}))")
_POSIX = re.compile(r"\[:(\^?)(\w+):\]")


class PatternError(ValueError):
    """An expression that Go does not take; says why as Go does."""

    def __init__(self, why: str, where: str) -> None:
        super().__init__(f"error parsing regexp: {why}: `{where}`")


class _UnknownScript(Exception):
    """A class of characters that is not known here."""


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """The expression; PatternError where Go has none."""
    try:
        text = _Reader(pattern).read()
    except _UnknownScript:
        text = ""
    try:
        return re.compile(text, re.ASCII)
    except (re.error, OverflowError) as error:
        raise PatternError(str(error), pattern) from None


class _Reader:
    """One expression, read from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._out: list[str] = []
        self._flags: list[list[str]] = [[]]
        """For each open group, the flags that were set in it."""
        self._repeatable = False
        self._is_multiline = False

    def read(self) -> str:
        while self._at < len(self._pattern):
            self._step(self._pattern[self._at])
        if len(self._flags) > 1:
            raise PatternError("missing closing )", self._pattern)
        return "".join(self._out) + ")" * len(self._flags[0])

    def _put(self, text: str, size: int, *, is_repeatable: bool = True) -> None:
        self._out.append(text)
        self._at += size
        self._repeatable = is_repeatable

    def _step(self, char: str) -> None:
        if char == "\\":
            self._escape()
        elif char == "[":
            self._class()
        elif char == "(":
            self._open()
        elif char == ")":
            self._close()
        elif char == "|":
            flags = self._flags[-1]
            self._put(")" * len(flags) + "|" + "".join(f"(?{each}:" for each in flags), 1, is_repeatable=False)
        elif char in "*+?" or (char == "{" and _REPEAT.match(self._pattern, self._at)):
            self._repeat(char)
        elif char == "$" and not self._is_multiline:
            self._put("\\Z", 1)
        else:
            self._put(char if char in "^$." else re.escape(char), 1)

    # --- groups --------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        rest = self._pattern[self._at :]
        if not rest.startswith("(?"):
            self._flags.append([])
            self._put("(", 1, is_repeatable=False)
        elif named := _NAMED.match(rest):
            self._flags.append([])
            self._put("(", named.end(), is_repeatable=False)
        elif flags := _FLAGS.match(rest):
            self._flagged(flags)
        else:
            raise PatternError("invalid or unsupported Perl syntax", rest[: 4 if rest[2:3] == "<" else 3])

    def _flagged(self, found: re.Match[str]) -> None:
        on, _, off = found[1].replace("U", "").partition("-")
        flags = on + (f"-{off}" if off else "")
        self._is_multiline = self._is_multiline or "m" in on
        if found[2] == ":":
            self._flags.append([])
            self._put(f"(?{flags}:", found.end(), is_repeatable=False)
        else:
            self._put(f"(?{flags}:", found.end(), is_repeatable=False)
            self._flags[-1].append(flags)

    def _close(self) -> None:
        if len(self._flags) == 1:
            raise PatternError("unexpected )", self._pattern)
        self._put(")" * len(self._flags.pop()) + ")", 1)

    # --- repetitions ---------------------------------------------------------------------------------------------

    def _repeat(self, char: str) -> None:
        found = _REPEAT.match(self._pattern, self._at) if char == "{" else None
        text = found[0] if found else char
        if not self._repeatable:
            before = "".join(self._out[-1:])
            if before.endswith(("*", "+", "?", "}")) and self._at:
                raise PatternError("invalid nested repetition operator", self._nested(text))
            raise PatternError("missing argument to repetition operator", text)
        if found:
            low, high = int(found[1]), int(found[2] or found[1])
            if low > MAX_REPEAT or high > MAX_REPEAT or high < low:
                raise PatternError("invalid repeat count", text)
        lazy = self._pattern[self._at + len(text) : self._at + len(text) + 1] == "?"
        self._put(text, len(text) + lazy, is_repeatable=False)

    def _nested(self, text: str) -> str:
        return self._out[-1] + text

    # --- characters ----------------------------------------------------------------------------------------------

    def _escape(self) -> None:
        rest = self._pattern[self._at :]
        if rest.startswith("\\Q"):
            literal, end, _ = rest[2:].partition("\\E")
            self._put("".join(map(re.escape, literal)), 2 + len(literal) + len(end))
        elif found := _PROPERTY.match(rest):
            self._put(f"[{_property(found)}]", found.end())
        else:
            text, size = _single(rest)
            self._put(text, size)

    def _class(self) -> None:
        """[...]: what Python would read otherwise is escaped."""
        rest = self._pattern[self._at :]
        negated = rest.startswith("[^")
        position, parts = 1 + negated, []
        while position == 1 + negated or rest[position : position + 1] != "]":
            part, size = _class_part(rest, position)
            parts.append(part)
            position += size
        self._put(f"[{'^' if negated else ''}{''.join(parts)}]", position + 1)


def _class_part(rest: str, position: int) -> tuple[str, int]:
    if position >= len(rest):
        raise PatternError("missing closing ]", rest)
    if named := _POSIX.match(rest, position):
        if named[2] not in POSIX:
            raise PatternError("invalid character class range", named[0])
        return (_complement(POSIX[named[2]]) if named[1] else POSIX[named[2]]), len(named[0])
    if found := _PROPERTY.match(rest, position):
        return _property(found), len(found[0])
    if rest[position] == "\\":
        return _single(rest[position:])
    return ("\\" + rest[position] if rest[position] in "[&|~]" else rest[position]), 1


def _single(rest: str) -> tuple[str, int]:
    """One escaped character or class of them, and how long it is."""
    char = rest[1:2]
    if not char:
        raise PatternError("trailing backslash at end of expression", "")
    if char == "z":
        return "\\Z", 2
    if found := _HEX.match(rest):
        return re.escape(chr(int(found[1] or found[2], 16))), found.end()
    if octal := re.match(r"\\(0[0-7]{0,2}|[1-7][0-7]{1,2})", rest):
        return re.escape(chr(int(octal[1], 8))), octal.end()
    if char in KEPT or not (char.isalnum() and char.isascii()):
        return "\\" + char, 2
    raise PatternError("invalid escape sequence", "\\" + char)


def _property(found: re.Match[str]) -> str:
    name = found[3] or found[4]
    return _category(name, (found[1] == "P") != bool(found[2]))


@cache
def _category(name: str, is_negated: bool) -> str:
    """The characters of a general category, as ranges."""
    wanted = [unicodedata.category(chr(code)).startswith(name) != is_negated for code in range(LAST + 1)]
    if len(name) > 2 or (not is_negated and not any(wanted)):
        raise _UnknownScript(name)
    return "".join(_ranges(wanted))


def _complement(ranges: str) -> str:
    inside = re.compile(f"[{ranges}]", re.ASCII)
    return "".join(_ranges([not inside.match(chr(code)) for code in range(0x80)])) + f"\x80-{chr(LAST)}"


def _ranges(wanted: list[bool]) -> Iterator[str]:
    for is_in, codes in groupby(range(len(wanted)), wanted.__getitem__):
        if is_in:
            first = last = next(codes)
            for last in codes:  # noqa: B007
                pass
            yield f"\\U{first:08x}-\\U{last:08x}"
