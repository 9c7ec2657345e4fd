"""Our rules equal those that the real kube-proxy 1.36 made for the same objects: all recorded sets, both families."""

from __future__ import annotations

import asyncio

import pytest

from clusterip.diff import Changes, diff, flat
from clusterip.kernel import iptables_counters
from clusterip.kernel.iptables import KernelIptables
from clusterip.kernel.iptables_fake import FakeIptables
from clusterip.proxy.backends.iptables import Iptables
from clusterip.proxy.model import Family
from kernel.iptables_places import place
from proxy.iptables_cases import COUNTERS, Case, cases, normal

CASES = list(cases())


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_set(case: Case, family: Family) -> None:
    iptables = FakeIptables()
    backend = Iptables(family, case.options(), iptables)
    asyncio.run(backend.commit(Changes(flat(backend.compile(case.plan(family)).parts))))
    assert normal(iptables.save().splitlines()) == normal(case.recorded(family))


@pytest.mark.root
@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_set_in_the_kernel(case: Case, variant: str) -> None:
    """As iptables-save prints it; and read back it is what was compiled, so that a restart changes nothing."""
    for family in Family:
        with place(variant, family.value) as found:
            assert found.run(_loaded(case, family, found.iptables)) == normal(case.recorded(family))


async def _loaded(case: Case, family: Family, iptables: FakeIptables | KernelIptables) -> dict[str, list[str]]:
    assert isinstance(iptables, KernelIptables)
    for name in COUNTERS:
        iptables_counters.ensure(name)
    backend = Iptables(family, case.options(), iptables, localhost=case.node(family).localhost_node_ports)
    wanted = flat(backend.compile(case.plan(family)).parts)
    await backend.read()
    await backend.commit(Changes(wanted))
    assert diff(await backend.read(), wanted) == Changes()
    assert await backend.is_intact()
    return normal((await iptables.save()).splitlines())


def test_all_were_found() -> None:
    assert len(CASES) == 40
