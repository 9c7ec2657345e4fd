"""A set of new namespaces for a sandbox, and a private copy of the mounts.

Stage: kernel.  In: kinds, and what to do inside first.  Out: descriptors; whoever gets one closes it.
Rules: the calling thread stays where it is: a short-lived thread makes the namespaces and ends.
Truth: namespaces(7), unshare(2): one thread of many may unshare all kinds but user; CLONE_NEWNS implies CLONE_FS.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from clusterip.kernel import mount, process

KINDS = {
    "net": process.CLONE_NEWNET,
    "uts": process.CLONE_NEWUTS,
    "ipc": process.CLONE_NEWIPC,
    "mnt": process.CLONE_NEWNS,
}


def create(kinds: Sequence[str], prepare: Callable[[], None] | None = None) -> dict[str, int]:
    """New namespaces of these kinds; prepare runs inside all of them."""
    found: dict[str, int] = {}
    trouble: list[BaseException] = []

    def body() -> None:
        try:
            process.unshare(sum(KINDS[kind] for kind in kinds))
            if prepare is not None:
                prepare()
            found.update({kind: os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds})
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=body, name="namespaces")
    thread.start()
    thread.join()
    if trouble:
        for fd in found.values():
            os.close(fd)
        raise trouble[0]
    return found


def copy_mounts(prepare: Callable[[], None]) -> int:
    """A copy of the caller's mounts, to which prepare adds; nothing of it is seen outside."""

    def inside() -> None:
        mount.mount(None, "/", None, mount.SLAVE | mount.REC)
        prepare()

    return create(["mnt"], inside)["mnt"]
