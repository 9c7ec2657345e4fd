"""Remove what other modes left, when a node changes its mode, and everything when it is told so.

Stage: commit.  In: the mode that runs here.  Out: the kernel without the others' rules.
Rules: what shares no name with the new mode goes after the new rules stand, so that no request finds none (the first
base chain that translates a packet is the only one: both standing at once is no harm); modes that use the same chains
go before.
Truth: cmd/kube-proxy/app platformCleanup, which removes before and leaves iptables and ipvs to each other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from clusterip.proxy.model import Family
from clusterip.proxy.modes import MODES

logger = logging.getLogger(__name__)

SAME_CHAINS = frozenset({"iptables", "ipvs"})


def before(mode: str) -> tuple[str, ...]:
    """The modes to be removed before the first rules of this one."""
    return tuple(name for name in MODES if name != mode and {name, mode} <= SAME_CHAINS)


def after(mode: str) -> tuple[str, ...]:
    """The modes to be removed once the rules of this one stand."""
    return tuple(name for name in MODES if name != mode and not {name, mode} <= SAME_CHAINS)


async def remove(modes: Iterable[str], families: Iterable[Family]) -> list[str]:
    """Remove all that these modes may have left; what went wrong, which stops nothing."""
    wrong = []
    for family in families:
        for name in modes:
            try:
                await MODES[name].cleanup(family)
            except Exception as error:
                logger.error("Cannot remove what another mode left", extra={"kv": {"mode": name, "err": error}})
                wrong.append(f"{name} (IPv{family.value}): {error}")
    return wrong
