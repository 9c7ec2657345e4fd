"""What the doctor says: one thing that is wrong, how it is known, what helps.

Stage: none; frozen values.  Rules: `what` is one sentence, `evidence` are facts that can be looked at again, `fixes`
are commands (a line that begins with # is advice).  `kind` is for programs and never changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from clusterip.api.meta import ObjectKey


class Severity(IntEnum):
    """The worst first."""

    BROKEN = 0  # traffic is lost
    SUSPECT = 1  # some traffic is lost, or will be
    NOTE = 2  # as it was asked for, and often not as it was meant


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `rank` sorts within a severity: causes before what follows from them.

    `place` is the Service that it concerns, or of which namespace it is; None: the whole cluster.
    """

    severity: Severity
    kind: str
    about: str
    what: str
    evidence: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    rank: int = 5
    place: ObjectKey | None = None

    def seen(self, *evidence: str) -> Finding:
        """The same with more evidence."""
        return replace(self, evidence=(*self.evidence, *evidence))

    @property
    def order(self) -> tuple[int, int, str, str, str]:
        return self.severity, self.rank, self.kind, self.about, self.what


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found, and what could not be looked at (what, why)."""

    findings: tuple[Finding, ...] = ()
    unseen: tuple[tuple[str, str], ...] = ()
    services: int = 0  # how many were looked at

    @property
    def is_healthy(self) -> bool:
        return all(found.severity is Severity.NOTE for found in self.findings)


def listed(names: Iterable[str], most: int = 3) -> str:
    """A few of them by name, the others by number."""
    found = list(names)
    more = len(found) - most
    return ", ".join(found[:most]) + (f" and {more} more" if more > 0 else "")
