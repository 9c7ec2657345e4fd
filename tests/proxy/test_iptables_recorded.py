"""Our rules equal those that the real kube-proxy 1.36 made for the same objects: all recorded sets, both families."""

from __future__ import annotations

import asyncio

import pytest

from clusterip.diff import Changes, flat
from clusterip.kernel.iptables_fake import FakeIptables
from clusterip.proxy.backends.iptables import Iptables
from clusterip.proxy.model import Family
from proxy.iptables_cases import Case, cases, normal

CASES = list(cases())


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_set(case: Case, family: Family) -> None:
    iptables = FakeIptables()
    backend = Iptables(family, case.options(), iptables)
    asyncio.run(backend.commit(Changes(flat(backend.compile(case.plan(family)).parts))))
    assert normal(iptables.save().splitlines()) == normal(case.recorded(family))


def test_all_were_found() -> None:
    assert len(CASES) == 28
