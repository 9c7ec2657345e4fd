"""What a look from inside says of what it did not try."""

from __future__ import annotations

import asyncio

import pytest

from clusterip.clock import ManualClock
from clusterip.cluster.config import Config
from clusterip.explain.visit import MOST_TRIED, Visit, evidence
from explain.objects import picture, pod, service, slice_of


@pytest.mark.parametrize(("more", "said"), [(0, False), (1, True)])
def test_more_services_than_are_tried_are_told(more: int, said: bool) -> None:
    one = pod()
    services = [service(f"web-{number}", clusterIP=f"10.96.1.{number}") for number in range(MOST_TRIED + more)]
    slices = [slice_of(each, [one]) for each in services]
    found = picture(*services, pods=(one,), endpointslices=slices)
    seen = asyncio.run(evidence(Visit(Config(), {}, {}), found, ManualClock()))
    assert ("connections to Services" in seen.unseen) is said
