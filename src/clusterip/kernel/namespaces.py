"""A set of new namespaces for a sandbox, and a private copy of the mounts.

Stage: kernel.  In: kinds, and what to do inside first.  Out: descriptors; whoever gets one closes it.
Rules: the calling thread stays where it is: a short-lived thread makes the namespaces and ends.
Truth: namespaces(7), unshare(2): one thread of many may unshare all kinds but user; CLONE_NEWNS implies CLONE_FS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from clusterip.kernel import mount, netns, process

KINDS = {
    "net": process.CLONE_NEWNET,
    "uts": process.CLONE_NEWUTS,
    "ipc": process.CLONE_NEWIPC,
    "mnt": process.CLONE_NEWNS,
}


def create(kinds: Sequence[str], prepare: Callable[[], None] | None = None) -> dict[str, int]:
    """New namespaces of these kinds; prepare runs inside all of them."""

    def make() -> dict[str, int]:
        process.unshare(sum(KINDS[kind] for kind in kinds))
        if prepare is not None:
            prepare()
        return {kind: os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds}

    return netns.in_thread(make)


def copy_mounts(prepare: Callable[[], None]) -> int:
    """A copy of the caller's mounts, to which prepare adds; nothing of it is seen outside."""

    def inside() -> None:
        mount.mount(None, "/", None, mount.SLAVE | mount.REC)
        prepare()

    return create(["mnt"], inside)["mnt"]
