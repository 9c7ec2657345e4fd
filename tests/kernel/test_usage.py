"""What this process uses."""

from __future__ import annotations

import time

from clusterip.kernel.usage import read_usage


def test_this_process() -> None:
    before = read_usage()
    with open("/dev/null", "rb"):
        more = read_usage()
    assert more.open_files == before.open_files + 1 <= before.max_files
    assert 1 << 20 < before.resident_bytes < before.virtual_bytes
    assert 0 < before.cpu_seconds <= more.cpu_seconds
    assert time.time() - 3600 < before.started <= time.time() + 1
