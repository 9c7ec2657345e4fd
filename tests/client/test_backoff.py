"""Delays grow, are spread, and begin anew after success."""

from __future__ import annotations

import pytest

from clusterip.client.backoff import Backoff


def test_delays_grow_to_the_longest():
    backoff = Backoff(first=1.0, longest=5.0, factor=2.0, chance=lambda: 1.0)
    assert [backoff.delay() for _ in range(5)] == pytest.approx([1, 2, 4, 5, 5])
    backoff.reset()
    assert backoff.delay() == pytest.approx(1.0)


def test_chance_takes_at_most_half():
    assert Backoff(first=1.0, chance=lambda: 0.0).delay() == pytest.approx(0.5)
