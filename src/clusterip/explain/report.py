"""A report as text for people and as a tree for programs.

Stage: plan.  In: Report.  Out: text, a tree.  Rules: pure; a screen holds what matters most, the rest is counted.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from clusterip.explain.finding import Finding, Report, Severity

MARKS = {Severity.BROKEN: "BROKEN ", Severity.SUSPECT: "SUSPECT", Severity.NOTE: "NOTE   "}
WIDTH = 110


def render(report: Report, most: int = 0) -> str:
    """At most that many findings in full; 0: all of them."""
    shown = report.findings[:most] if most else report.findings
    lines = [line for found in shown for line in (*_finding(found), "")]
    if more := len(report.findings) - len(shown):
        lines += [f"... and {more} more findings: -o json or --all shows them", ""]
    return "\n".join([*lines, *_unseen(report), _summary(report)])


def _finding(found: Finding) -> Iterator[str]:
    yield from _wrapped(f"{MARKS[found.severity]} {found.about}: {found.what}", "", " " * 8)
    for each in found.evidence:
        yield from _wrapped(each, " " * 8 + "seen  ", " " * 14)
    for each in found.fixes:
        yield " " * 8 + "fix   " + each  # never wrapped: it is copied


def _wrapped(text: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _unseen(report: Report) -> Iterator[str]:
    for what, why in report.unseen:
        yield from _wrapped(f"not looked at: {what}: {why}", "", " " * 4)


def _summary(report: Report) -> str:
    counts = {each: sum(found.severity is each for found in report.findings) for each in Severity}
    looked = f"{report.services} Service{'s' * (report.services != 1)} looked at"
    if report.is_healthy:
        return f"{looked}: nothing is wrong"
    words = ((Severity.BROKEN, "broken"), (Severity.SUSPECT, "suspect"))
    parts = [f"{counts[each]} {word}" for each, word in words if counts[each]]
    return f"{looked}: {', '.join(parts)}"


def tree_of(report: Report) -> dict[str, Any]:
    """For programs."""
    return {
        "healthy": report.is_healthy,
        "servicesLookedAt": report.services,
        "findings": [
            {
                "severity": found.severity.name.lower(),
                "kind": found.kind,
                "about": found.about,
                "what": found.what,
                "evidence": list(found.evidence),
                "fixes": list(found.fixes),
            }
            for found in report.findings
        ],
        "notLookedAt": [{"what": what, "why": why} for what, why in report.unseen],
    }
