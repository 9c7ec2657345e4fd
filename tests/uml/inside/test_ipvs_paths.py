"""The packet tests of all modes, played in ipvs mode on this kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from clusterip.proxy.model import Family
from packets import test_modes, test_source_addresses
from packets.lab import Lab

OTHER_MODES = ("test_a_wrong_port_is_refused_and_an_unknown_address_is_silent",)  # see test_ipvs_packets.py
for module in (test_source_addresses, test_modes):
    globals().update(
        {name: test for name, test in vars(module).items() if name.startswith("test_") and name not in OTHER_MODES}
    )


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("ipvs") as lab:
        yield lab


@pytest.fixture(params=[family.name for family in Family])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, Any]]:
    with Lab("ipvs") as lab:
        yield lab, Family[request.param]
