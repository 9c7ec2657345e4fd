"""What a proxy's Lease says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clusterip.api.programmed import ANNOTATION, lease_name, parse_programmed

RENEWED = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = {
    "metadata": {"name": lease_name("node-1"), "annotations": {ANNOTATION: "42"}},
    "spec": {
        "holderIdentity": "node-1",
        "leaseDurationSeconds": 15,
        "renewTime": "2026-01-01T00:00:00.000000Z",
    },
}


def test_a_lease() -> None:
    found = parse_programmed(LEASE)
    assert (found.name, found.passed) == ("node-1", 42)
    assert found.is_live(RENEWED + timedelta(seconds=14.9))
    assert not found.is_live(RENEWED + timedelta(seconds=15))


def test_what_cannot_be_read_holds_nobody_up() -> None:
    found = parse_programmed({"metadata": {"name": "x", "annotations": {ANNOTATION: "soon"}}})
    assert (found.name, found.passed, found.is_live(RENEWED)) == ("x", 0, False)
