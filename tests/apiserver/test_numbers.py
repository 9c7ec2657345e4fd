"""The most at once in the last second."""

from __future__ import annotations

from clusterip.apiserver.numbers import Peak


def test_the_most_at_once_in_the_last_second() -> None:
    peak = Peak()
    for by, moment in ((1, 1.0), (1, 1.1), (-2, 1.2), (1, 2.1)):
        peak.moved(by, moment)
    assert (peak.before, peak.most, peak.now) == (2, 1, 1)
    peak.moved(0, 9.0)
    assert (peak.before, peak.most) == (1, 1)
