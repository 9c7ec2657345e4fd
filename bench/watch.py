"""What watchers are told, held against what was written, for a minute or as long as asked (SECONDS=3600).

Rules: no figure of speed: each is a number of violations, and only none is good.
"""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path

from bench.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the checker is the tests' own

from apiserver.watchhistory import violations
from apiserver.watchtraffic import record, unwitnessed
from clusterip.testing import ApiServer

QUICK = os.environ.get("QUICK", "") not in ("", "0")
SECONDS = float(os.environ.get("SECONDS", "15" if QUICK else "60"))


async def watch() -> list[Figure]:
    """Violations by validator, and how much was looked at."""
    with ApiServer(store="sqlite") as api:
        context = ssl.create_default_context(cafile=str(api.ca))
        history, watchers, counts = await record(api.url, api.token, context, SECONDS, seed=7)
    found = violations(history, watchers)
    for texts in found.values():
        for text in texts[:5]:
            print(f"    {text}")
    figures = [Figure(f"watch, {name}", len(texts), "violations", 0) for name, texts in found.items()]
    figures.append(Figure("watch, acknowledged writes not seen", len(unwitnessed(history, counts)), "writes", 0))
    looked = {"writes": counts.writes, "events": counts.events, "connections": counts.connections}
    return figures + [Figure(f"watch, {name} looked at", number, name, None) for name, number in looked.items()]
