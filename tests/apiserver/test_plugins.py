"""Names of admission plugins, on, off, both and neither."""

from __future__ import annotations

import pytest

from clusterip.apiserver.plugins import USUAL, chosen, without_effect


def test_lists_add_and_take_away() -> None:
    assert chosen("", "") == USUAL
    found = chosen("AlwaysPullImages, EventRateLimit", "PodSecurity,")
    assert found == (USUAL | {"AlwaysPullImages", "EventRateLimit"}) - {"PodSecurity"}
    assert without_effect(found) == ["EventRateLimit"]


@pytest.mark.parametrize(("on", "off", "why"), [("Nonsense", "", "unknown"), ("Priority", "Priority", "overlapped")])
def test_what_cannot_be(on: str, off: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        chosen(on, off)
