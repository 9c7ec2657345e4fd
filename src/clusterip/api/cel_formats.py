"""Formats and semantic versions in CEL: `format.dns1123Label().validate(x)`, `semver('1.2.3')`.

Stage: none; pure.  In: plain values, expressions.  Out: plain values; a ValueError is the expression's failure.
Rules: a format is its name here, a version its text with a mark before it, so that equal ones are equal;
       functions cannot give optional values, so what upstream's give is put around them (`written`).
Truth: apiserver's pkg/cel/library: format, semverlib; semver.org.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Final

from clusterip.api import formats, names
from clusterip.api.errors import quoted

_TEXTS: Final = re.compile(r"""r?("(\\.|[^"\\])*"|'(\\.|[^'\\])*')""")
_BRACKETS: Final = {")": "(", "]": "[", "}": "{"}
MARK: Final = "semver "
_VERSION: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)

# --- formats ---------------------------------------------------------------------------------------------------------


def _label_1035(text: str, prefix: bool) -> list[str]:
    return names.label_1035(f"{text[:-2]}a" if prefix and len(text) > 1 and text.endswith("-") else text)


def _uri(text: str) -> list[str]:
    fits = text and (":" in text or text.startswith("/")) and formats.fits(text, "uri")
    return [] if fits else [f"parse {quoted(text)}: {'invalid URI for request' if text else 'empty url'}"]


def _as(name: str, fault: str) -> Callable[[str], list[str]]:
    return lambda text: [] if formats.fits(text, name) else [fault]


FORMATS: Final[dict[str, Callable[[str], list[str]]]] = {
    "dns1123Label": lambda text: names.name_is_label(text, False),
    "dns1123Subdomain": lambda text: names.name_is_subdomain(text, False),
    "dns1035Label": lambda text: _label_1035(text, False),
    "qualifiedName": names.qualified_name,
    "dns1123LabelPrefix": lambda text: names.name_is_label(text, True),
    "dns1123SubdomainPrefix": lambda text: names.name_is_subdomain(text, True),
    "dns1035LabelPrefix": lambda text: _label_1035(text, True),
    "labelValue": names.label_value,
    "uri": _uri,
    "uuid": _as("uuid", "does not match the UUID format"),
    "byte": _as("byte", "invalid base64"),
    "date": _as("date", "invalid date"),
    "datetime": _as("datetime", "invalid datetime"),
}


def _faults(name: str, text: str) -> list[str]:
    if name not in FORMATS:
        raise ValueError("no such overload")
    return FORMATS[name](text)


# --- versions --------------------------------------------------------------------------------------------------------


def _semver(text: str, normalize: bool = False) -> str:
    text = _normalized(text) if normalize else text
    found = _VERSION.fullmatch(text)
    if not found:
        raise ValueError(f"Invalid character(s) found in version {quoted(text)}" if text else "Version string empty")
    rest = found[4]
    if any(part.isdigit() and len(part) > 1 and part[0] == "0" for part in (rest or "").split(".")):
        raise ValueError(f"Numeric PreRelease version must not contain leading zeroes {quoted(rest)}")
    return f"{MARK}{found[1]}.{found[2]}.{found[3]}{'-' + rest if rest else ''}"


def _normalized(text: str) -> str:
    """Without a `v` and leading zeros, with all three numbers."""
    parts = [_without_zeros(part) for part in text.removeprefix("v").split(".", 2)]
    if len(parts) < 3 and any(char in "+-" for char in parts[-1]):
        raise ValueError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, "0", "0"][: max(3, len(parts))])


def _without_zeros(part: str) -> str:
    plain = part.lstrip("0") if len(part) > 1 else part
    return plain if plain[:1].isdigit() or len(part) <= 1 else f"0{plain}"


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _semver(text, normalize)
    except ValueError:
        return False
    return True


def is_version(text: str) -> bool:
    """Whether a value is a version rather than a quantity."""
    return text.startswith(MARK)


def compared(left: str, right: str) -> int:
    """Which of two versions is the later one: -1, 0, 1."""
    (numbers, rest), (other_numbers, other_rest) = _parts(left), _parts(right)
    if numbers != other_numbers:
        return 1 if numbers > other_numbers else -1
    if not rest or not other_rest:
        return bool(other_rest) - bool(rest)
    for mine, theirs in zip_longest(rest, other_rest, fillvalue=()):
        if mine != theirs:
            return 1 if mine > theirs else -1
    return 0


def _parts(text: str) -> tuple[tuple[int, ...], list[tuple[Any, ...]]]:
    core, _, rest = text.removeprefix(MARK).partition("-")
    parts = [(0, int(part)) if part.isdigit() else (1, part) for part in rest.split(".") if rest]
    return tuple(int(number) for number in core.split(".")), parts


def _number(place: int) -> Callable[[str], int]:
    return lambda text: _parts(text)[0][place]


# --- what expressions say --------------------------------------------------------------------------------------------

S: Final = "STRING"
GLOBAL: Final[tuple[tuple[str, tuple[str, ...], str, Callable[..., Any]], ...]] = (
    *((f"format.{name}", (), S, lambda name=name: name) for name in FORMATS),
    ("format.known", (S,), S, lambda name: name if name in FORMATS else ""),
    ("semver", (S,), S, _semver),
    ("semver", (S, "BOOL"), S, _semver),
    ("isSemver", (S,), "BOOL", _is_semver),
    ("isSemver", (S, "BOOL"), "BOOL", _is_semver),
)
MEMBERS: Final[tuple[tuple[str, tuple[str, ...], str, Callable[..., Any]], ...]] = (
    ("formatFaults", (S, S), "DYN", _faults),
    ("major", (S,), "INT", _number(0)),
    ("minor", (S,), "INT", _number(1)),
    ("patch", (S,), "INT", _number(2)),
)


def written(text: str) -> str:
    """An expression in which the functions that give optional values are there under their names here."""
    if "format." not in text:
        return text
    for spoken, meant in ((".validate(", ".formatFaults("), ("format.named(", "format.known(")):
        text = _wrapped(text, spoken, meant)
    return text


def _wrapped(text: str, spoken: str, meant: str) -> str:
    place = _plain(text).find(spoken)
    while place >= 0:
        plain = _plain(text)
        end = _closed(plain, place + len(spoken))
        start = _receiver(plain, place) if spoken[0] == "." else place
        inner = f"{text[start:place]}{meant}{text[place + len(spoken) : end]}"
        text = f"{text[:start]}optional.ofNonZeroValue({inner}){text[end:]}"
        place = _plain(text).find(spoken, place)
    return text


def _plain(text: str) -> str:
    """The expression with blanks for what stands in quotes."""
    return _TEXTS.sub(lambda found: " " * len(found[0]), text)


def _closed(plain: str, place: int) -> int:
    """Behind the bracket that closes what is open at a place."""
    depth = 1
    while depth and place < len(plain):
        depth += (plain[place] in "([{") - (plain[place] in ")]}")
        place += 1
    return place


def _receiver(plain: str, place: int) -> int:
    """Where the value begins that a function at a place is asked of: names, dots, calls and indexes."""
    while place > 0:
        last = plain[place - 1]
        if last in _BRACKETS:
            place = _opened(plain, place)
        elif last.isalnum() or last in "._":
            place -= 1
        else:
            break
    return place


def _opened(plain: str, place: int) -> int:
    """The bracket that opens what closes before a place."""
    depth = 0
    while place > 0:
        place -= 1
        depth += (plain[place] in ")]}") - (plain[place] in "([{")
        if depth == 0:
            break
    return place
