"""Remove what other modes left, when a node changes its mode, and everything when it is told so.

Stage: commit.  In: the mode that runs here.  Out: the kernel without the others' rules.
Rules: all of it goes after the new rules stand, so that no request finds none: the first base chain that translates a
packet is the only one, so both standing at once is no harm.  iptables and ipvs have some chains in common; the new mode
has rewritten those, and the other's cleanup leaves them.
Truth: cmd/kube-proxy/app platformCleanup, which removes before and leaves iptables and ipvs to each other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from clusterip.proxy.model import Family
from clusterip.proxy.modes import MODES

logger = logging.getLogger(__name__)


def others(mode: str) -> tuple[str, ...]:
    """The modes to be removed once the rules of this one stand."""
    return tuple(name for name in MODES if name != mode)


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
