"""A measured figure beside its goal and its peers.

Rules: pure.  Times are only compared with what ran on the same machine in the same run, or with the peer that is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    subject: str
    value: float
    unit: str
    goal: float | None  # none: it is said, and compared with what stands beside it
    peer: str = ""
    is_rate: bool = False
    """Better when larger."""

    @property
    def holds(self) -> bool:
        """Whether the goal is met."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.is_rate else self.value <= self.goal


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which a share of all lies."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _judged(figure: Figure) -> tuple[str, str]:
    """The goal, and whether it is met."""
    if figure.goal is None:
        return "", ""
    sign = ">=" if figure.is_rate else "<="
    return f"{sign} {figure.goal:g} {figure.unit}", "ok" if figure.holds else "MISSED"


def table(figures: Sequence[Figure]) -> str:
    """Aligned text."""
    rows = [("subject", "measured", "goal", "", "peer")]
    rows += [(f.subject, f"{f.value:.4g} {f.unit}", *_judged(f), f.peer) for f in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
