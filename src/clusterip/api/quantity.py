"""Quantities: 500m, 1Gi, 1e3.

Stage: none; values.  In: texts.  Out: exact numbers, and the one text that upstream writes for them.
Rules: pure; numbers are Decimal, never float; nothing is finer than a nano (rounded up, away from zero) or larger than
int64.
Truth: apimachinery's api/resource, whose error texts these are.
"""

from __future__ import annotations

import re
from decimal import ROUND_UP, Context, Decimal
from functools import lru_cache
from typing import NamedTuple

FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_WRONG = "unable to parse quantity's suffix"

SHAPE = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII)
EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)", re.ASCII)
DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY_SUFFIXES = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
DECIMAL_NAMES = {power: name for name, power in DECIMAL_SUFFIXES.items()}
BINARY_NAMES = {power: name for name, power in BINARY_SUFFIXES.items()}

LARGEST = Decimal(2**63 - 1)
NANO = Decimal("1e-9")
WIDE = Context(prec=60, Emax=10**6, Emin=-(10**6))
FARTHEST_EXPONENT = 1000  # beyond it every number is rounded to a nano or capped anyway


class QuantityError(ValueError):
    """A text that is no quantity; its message is upstream's."""


class Quantity(NamedTuple):
    """A number and the family of suffixes it was written with: "decimal", "binary" or "exponent"."""

    amount: Decimal
    family: str

    def __str__(self) -> str:
        return render(self.amount, self.family)


@lru_cache(maxsize=4096)
def parse(text: str) -> Quantity:
    """The quantity; QuantityError when it is none."""
    match = SHAPE.fullmatch(text) if text else None
    if match is None:
        raise QuantityError(FORMAT_WRONG)
    sign, whole, part, suffix = match.groups()
    factor, family = _scale(suffix)
    number = Decimal(f"{sign}{whole or '0'}.{part or '0'}")
    return Quantity(_bounded(WIDE.multiply(number, factor)), family)


def _scale(suffix: str) -> tuple[Decimal, str]:
    if suffix in DECIMAL_SUFFIXES:
        return Decimal(1).scaleb(DECIMAL_SUFFIXES[suffix]), "decimal"
    if suffix in BINARY_SUFFIXES:
        return Decimal(1024 ** BINARY_SUFFIXES[suffix]), "binary"
    if match := EXPONENT.fullmatch(suffix):
        power = max(-FARTHEST_EXPONENT, min(FARTHEST_EXPONENT, int(match[1])))
        return Decimal(1).scaleb(power, WIDE), "exponent"
    raise QuantityError(SUFFIX_WRONG)


def _bounded(amount: Decimal) -> Decimal:
    capped = max(-LARGEST, min(LARGEST, amount))
    return capped.quantize(NANO, ROUND_UP, WIDE)


def amount(text: str | int | float) -> Decimal:
    """The exact number; JSON numbers are taken too."""
    return parse(_text(text)).amount


def value(text: str | int | float) -> int:
    """The number as a whole one, rounded up: bytes, pods, CPUs."""
    return int(amount(text).to_integral_value(ROUND_UP))


def milli(text: str | int | float) -> int:
    """Thousandths, rounded up: CPU shares are counted so."""
    return int((amount(text) * 1000).to_integral_value(ROUND_UP))


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The text that upstream stores and answers for it: 1000m is 1, 0.5 is 500m, 1024Ki is 1Mi."""
    return str(parse(text))


def _text(number: str | int | float) -> str:
    return number if isinstance(number, str) else repr(number)


def render(amount: Decimal, family: str = "decimal") -> str:
    """The canonical text of a number, in a family of suffixes. What a family cannot say is said in decimal."""
    if family == "binary" and abs(amount) >= 1024 and amount == amount.to_integral_value():
        return _binary(int(amount))
    return _decimal(amount, family)


def _binary(number: int) -> str:
    power = 0
    while number % 1024 == 0 and power < 6:
        number //= 1024
        power += 1
    return f"{number}{BINARY_NAMES.get(power, '')}"


def _decimal(amount: Decimal, family: str) -> str:
    sign, digits, exponent = amount.normalize(WIDE).as_tuple()
    assert isinstance(exponent, int)
    if digits == (0,):
        return "0"
    power = min(exponent // 3 * 3, 18)
    number = int("".join(map(str, digits))) * 10 ** (exponent - power)
    suffix = DECIMAL_NAMES[power] if family != "exponent" else (f"e{power}" if power else "")
    return f"{'-' if sign else ''}{number}{suffix}"
