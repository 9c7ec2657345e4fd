"""The UDP tests of all modes, played in ipvs mode on this kernel: no sender stays on an endpoint that is gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clusterip.proxy.model import Family
from packets import test_udp
from packets.lab import Lab
from packets.test_udp import Scene

OTHER_MODES = (
    "test_a_switch_of_modes_takes_the_flows_along",
    # here a flow leaves an endpoint that is ending, and connections end with their Service: docs/proxy-modes.md
    "test_an_endpoint_that_is_ending_keeps_its_senders",
    "test_flows_of_others_and_tcp_live_on",
)
globals().update(
    {name: test for name, test in vars(test_udp).items() if name.startswith("test_") and name not in OTHER_MODES}
)


@pytest.fixture(params=list(Family), ids=lambda family: family.name)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("ipvs", nodes=["node-1"]) as lab:
        yield Scene(lab, request.param)
