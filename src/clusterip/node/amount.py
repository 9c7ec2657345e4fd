"""Quantities as numbers, as far as a node needs them.

Stage: none; pure.  In: the text of a quantity ("500m", "64Mi").  Out: a Decimal.
Truth: apimachinery's api/resource; the API server has already refused what is malformed.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate(("K", "M", "G", "T", "P", "E"), start=1)},
}


def amount(text: str) -> Decimal:
    """The number; zero when there is none to be read."""
    digits = text.rstrip("KMGTPEkmunih")
    unit = text[len(digits) :]
    try:
        return Decimal(digits) * UNITS.get(unit, Decimal(1))
    except InvalidOperation:
        try:
            return Decimal(text)
        except InvalidOperation:
            return Decimal(0)
