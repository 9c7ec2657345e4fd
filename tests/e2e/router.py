"""A BGP router on the LAN of a cluster: FRR, for as long as the block lasts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.conftest import Cluster

FRR = Path("/usr/lib/frr")
NODES = ("192.168.4.101", "192.168.4.102", "192.168.4.103")
# it ends with its input
SCRIPT = """
set -e
at=$(mktemp -d); trap 'kill $(jobs -p); wait; rm -rf $at' EXIT
for name in zebra bfdd; do echo 'log stdout' >$at/$name.conf; done
printf '%s' "$1" >$at/bgpd.conf
chown -R frr:frr $at
own() { echo -f $at/$1.conf -i $at/$1.pid -A 127.0.0.1 -P 0 --vty_socket $at --log stdout -z $at/zserv.api; }
/usr/lib/frr/zebra $(own zebra) </dev/null &
until [ -e $at/zserv.api ]; do sleep 0.05; done
/usr/lib/frr/bfdd $(own bfdd) --bfdctl $at/bfdd.sock </dev/null &
until [ -e $at/bfdd.sock ]; do sleep 0.05; done
/usr/lib/frr/bgpd $(own bgpd) </dev/null &
cat >/dev/null
"""


def configuration(asn: int = 64501, peer_asn: int = 64500) -> str:
    lines = ["log stdout", f"router bgp {asn}", " bgp router-id 192.168.4.1", " no bgp ebgp-requires-policy"]
    lines += [" bgp bestpath as-path multipath-relax"]
    for node in NODES:
        lines += [f" neighbor {node} remote-as {peer_asn}", f" neighbor {node} passive", f" neighbor {node} bfd"]
    return "\n".join([*lines, ""])


@contextmanager
def router(cluster: Cluster) -> Iterator[None]:
    """The LAN machine learns routes by BGP and notices by BFD."""
    command = [sys.executable, "-m", "clusterip.main", "shell", "--name", cluster.name, "--"]
    running = subprocess.Popen(
        [*command, "bash", "-c", SCRIPT, "router", configuration()],
        env=cluster.environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        if running.stdin is not None:
            running.stdin.close()
        running.wait(60)
