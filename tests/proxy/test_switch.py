"""From one mode to another: what goes, and that trouble stops nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from clusterip.proxy import switch
from clusterip.proxy.model import Family
from clusterip.proxy.modes import MODES, NAMES, Mode


@pytest.mark.parametrize("mode", NAMES)
def test_every_other_mode_goes_once(mode: str) -> None:
    assert sorted(switch.others(mode)) == sorted(set(NAMES) - {mode})


def test_trouble_with_one_mode_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[tuple[str, Family]] = []

    def cleanup(name: str) -> Callable[[Family], Awaitable[None]]:
        async def remove(family: Family) -> None:
            if name == "ipvs":
                raise OSError("busy")
            removed.append((name, family))

        return remove

    modes = {name: Mode(name, MODES[name].make, cleanup(name)) for name in NAMES}
    monkeypatch.setattr(switch, "MODES", modes)
    wrong = asyncio.run(switch.remove(NAMES, Family))
    assert wrong == ["ipvs (IPv4): busy", "ipvs (IPv6): busy"]
    assert len(removed) == 6
