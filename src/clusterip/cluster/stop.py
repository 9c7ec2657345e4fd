"""`down`: end and remove everything that belongs to a cluster, whatever state it is in.

Stage: commit.  In: the state folder, control groups, /proc.  Out: nothing is left.
Rules: every step looks for itself at what is there, so that a killed `down` is completed by the next.  Processes are
found by three ways: their records, the cluster's control group, mounts of its folder.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from clusterip.cluster import traces
from clusterip.cluster.folder import Folder
from clusterip.cluster.state import SUPERVISOR
from clusterip.failure import Failure
from clusterip.kernel import process
from clusterip.kernel.cgroup import Cgroups
from clusterip.kernel.process import Process

SUPERVISOR_SECONDS = 15.0
END_SECONDS = 10.0
PAUSE_SECONDS = 0.003
RUNTIME = (
    "processes",
    "run",
    "nodes",
    "supervisor.lock",
    "supervisor.sock",
    "cluster.json",
    "kubeconfigs",
    "kubeconfig",
)


def down(folder: Folder, keep: bool) -> bool:
    """End the cluster; whether there was one.  The caller holds its lock."""
    if not folder.path.exists() and not Cgroups().pids(folder.cgroup):
        return False
    _end_supervisor(folder)
    sweep(folder)
    _remove_files(folder, keep)
    return True


def _end_supervisor(folder: Folder) -> None:
    """SIGTERM: it ends the parts in order, the API server last."""
    found = folder.living().get(SUPERVISOR)
    if found is None:
        return
    try:
        pidfd = process.pidfd_open(found.pid, found.started)
    except ProcessLookupError:
        return
    with process.closing_fd(pidfd):
        found.kill(signal.SIGTERM)
        if not process.wait_ended(pidfd, SUPERVISOR_SECONDS):
            found.kill(signal.SIGKILL)


def sweep(folder: Folder) -> None:
    """End every process of the cluster and remove its control groups; namespaces and mounts end with them."""
    groups = Cgroups()
    deadline = time.monotonic() + END_SECONDS
    while left := _living(folder, groups):
        for each in left:
            each.kill()
        if time.monotonic() > deadline:
            pids = ", ".join(str(each.pid) for each in left)
            raise Failure(f"processes of cluster {folder.name} do not end: {pids}; end them, then run `clusterip down`")
        time.sleep(PAUSE_SECONDS)
    if not groups.remove(folder.cgroup):
        raise Failure(f"control group {folder.cgroup} cannot be removed; run `clusterip down` again")
    groups.remove_empty(str(Path(folder.cgroup).parent))


def _living(folder: Folder, groups: Cgroups) -> list[Process]:
    """Every living process of the cluster but this one."""
    pids = groups.pids(folder.cgroup) | set(traces.processes_in(folder.path))
    found = [process.of_pid(pid) for pid in pids if pid != os.getpid()]
    return [each for each in {*found, *folder.living().values()} if each is not None]


def _remove_files(folder: Folder, keep: bool) -> None:
    if not keep:
        _remove(folder.path)
        return
    for name in RUNTIME:
        path = folder.path / name
        _remove(path) if path.is_dir() else path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Remove a folder with all in it."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Failure(
            f"cannot remove {error.filename or path}: {error.strerror}; run `clusterip down` again"
        ) from error
