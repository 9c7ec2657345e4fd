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
SCRIPT = Path(__file__).parents[2] / "examples" / "metallb" / "router.sh"


@contextmanager
def router(cluster: Cluster) -> Iterator[None]:
    """The LAN machine learns routes by BGP and notices by BFD."""
    command = [sys.executable, "-m", "clusterip.main", "shell", "--name", cluster.name, "--"]
    running = subprocess.Popen(
        [*command, "bash", "-c", SCRIPT.read_text()],  # a machine has a /tmp of its own, where the script may lie
        env=cluster.environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        if running.stdin is not None:
            running.stdin.close()
        running.wait(60)
