"""Whether the rules of a definition cost too much: each by itself and all together.

Stage: none; pure.  In: compiled rules with the types that they see.  Out: field errors in upstream's words.
Rules: a rule counts as often as its value can be there; a message counts once.
Truth: apiextensions-apiserver, pkg/apis/apiextensions/validation (cel_validation.go, getCostErrorMessage).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clusterip.api import cel, cel_sizes
from clusterip.api.cel import Program
from clusterip.api.cel_calls import MOST
from clusterip.api.cel_cost import cost
from clusterip.api.cel_sizes import Declared
from clusterip.api.errors import FieldError, forbidden

OF_A_RULE: Final = 10_000_000
OF_ALL: Final = 100_000_000
NAMED: Final = 4
"""How many of the dearest rules are named when all together are too dear."""
EXCEEDS: Final = (
    "{} exceeds budget by factor of {} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength "
    "where arrays, maps, and strings are declared)"
)
CONTRIBUTED: Final = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
TOTAL: Final = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"


class Spending:
    """What the rules of one schema cost, as they are gone through."""

    def __init__(self, is_unchanged: bool = False) -> None:
        self._is_unchanged = is_unchanged
        self._spent: list[tuple[int, str]] = []

    def rule(self, where: str, program: Program, kind: Declared | None, limit: int | None) -> Iterator[FieldError]:
        """A rule of a value that can be there `limit` times."""
        if kind is None:
            return
        has_optional_old = program.text.startswith(cel.OPTIONAL_OLD)
        once = cost(program.checked(), kind, has_optional_old=has_optional_old)
        often = cel_sizes.at_most(kind) if limit is None else limit
        yield from self._spend(where, min(once * often, MOST), "estimated rule cost")

    def message(self, where: str, program: Program | None, kind: Declared | None) -> Iterator[FieldError]:
        """A rule's message."""
        if program is not None and kind is not None:
            yield from self._spend(where, cost(program.checked(), kind), "estimated messageExpression cost")

    def _spend(self, where: str, price: int, what: str) -> Iterator[FieldError]:
        if price > OF_A_RULE and not self._is_unchanged:
            yield forbidden(where, _exceeds(what, price, OF_A_RULE))
        self._spent.append((price, where))

    def total(self, path: str) -> Iterator[FieldError]:
        """What is wrong with all together."""
        total = min(sum(price for price, _ in self._spent), MOST)
        if total <= OF_ALL:
            return
        dear = [each for each in self._spent if each[0] >= OF_ALL // 100]
        for _, where in sorted(dear, key=lambda each: -each[0])[:NAMED]:
            yield forbidden(where, CONTRIBUTED)
        yield forbidden(path, _exceeds(TOTAL, total, OF_ALL))


def _exceeds(what: str, price: int, limit: int) -> str:
    times = price / limit
    shown = "more than 100x" if times > 100 else f"{times:f}x" if times < 1.5 else f"{times:.1f}x"
    return EXCEEDS.format(what, shown)
