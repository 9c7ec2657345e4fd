"""How many rules are the proxy's own, and how many the last sync wrote: what the metrics tell.

Stage: none; numbers.  In: states and stages of changes.  Out: counts by table.
Rules: kept by what changes, never by looking at all.
Truth: upstream's kubeproxy_sync_proxy_rules_iptables_total and _last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from clusterip.diff import Changes
from clusterip.kernel.iptables import ChainKey, Key, Value

TABLES = ("filter", "nat")


class Tally:
    """Counts of rules by table, and of restores that failed."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self.last: Counter[str] = Counter()
        self.failures = 0
        self.partial_failures = 0  # of those, the ones of changes, not of a first load
        self._is_fresh = True

    def was_read(self, state: Mapping[Key, Value]) -> None:
        """What is there is known anew; the next restore is a full one."""
        self.total = _rules(state)
        self._is_fresh = True

    def was_made(self, stages: Iterable[Changes[Any, Any]]) -> None:
        self.last = Counter()
        for stage in stages:
            written = _rules(stage.put)
            self.last.update(written)
            self.total.update(written)
            self.total.subtract(_rules(stage.remove))
        self._is_fresh = False

    def was_refused(self) -> None:
        self.failures += 1
        self.partial_failures += not self._is_fresh


def _rules(values: Mapping[Any, Any]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for key, value in values.items():
        if isinstance(key, ChainKey) and isinstance(value, tuple):
            counts[key.table] += len(value)
    return counts
