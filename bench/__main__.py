"""Run the benches that were asked for; print a table, write JSON to bench/out/figures.json."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path

from bench import api, cluster, dns, doctor, ingress, loadbalancer, policy, proxy, watch
from bench.figure import Figure, table

BENCHES = {
    "up": cluster.start,
    "memory": cluster.memory,
    "pods": cluster.pods,
    "ready": cluster.ready,
    "loadbalancer": loadbalancer.loadbalancer,
    "proxy": proxy.proxy,
    "policy": policy.policy,
    "api": api.api,
    "dns": dns.dns,
    "ingress": ingress.ingress,
    "doctor": doctor.doctor,
    "watch": watch.watch,
}
OUT = Path(__file__).parent / "out" / "figures.json"


async def run(names: list[str]) -> list[Figure]:
    """Each bench in turn; they share a machine, so never two at once."""
    figures: list[Figure] = []
    for name in names:
        print(f"... {name}", flush=True)
        figures += await BENCHES[name]()
    return figures


def main() -> int:
    names = sys.argv[1:] or list(BENCHES)
    if unknown := [name for name in names if name not in BENCHES]:
        print(f"no bench {', '.join(unknown)}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    figures = asyncio.run(run(names))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps([dataclasses.asdict(f) for f in figures], indent=1) + "\n")
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
