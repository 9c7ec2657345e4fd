"""What a series of probe results means.

Stage: plan.  In: a probe, the state before, one result.  Out: the state after.
Rules: pure.
Truth: the kubelet's prober worker: a result changes the verdict only after its threshold of equal results in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from clusterip.node.model import Probe, ProbeKind

# Before the first verdict: alive unless shown otherwise, not ready unless shown, started unknown.
INITIAL: dict[ProbeKind, bool | None] = {"liveness": True, "readiness": False, "startup": None}

# A container that has just begun is looked at early, so that it is ready as soon as it can be;
# such looks never count as failures.
EARLY_LOOKS = (0.02, 0.03, 0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of one probe."""

    holds: bool | None
    last: bool | None = None
    in_row: int = 0


def initial(kind: ProbeKind) -> Verdict:
    return Verdict(INITIAL[kind])


def advance(probe: Probe, before: Verdict, success: bool) -> Verdict:
    """The verdict after one more result."""
    in_row = before.in_row + 1 if before.last is success else 1
    threshold = probe.success_threshold if success else probe.failure_threshold
    holds = success if in_row >= threshold else before.holds
    return Verdict(holds, success, in_row)
