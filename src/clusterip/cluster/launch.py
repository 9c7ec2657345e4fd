"""Start the two processes that start all others: the zygote, and through it the supervisor.

Stage: commit.  In: the state folder.  Out: recorded processes.
Rules: the zygote is a fresh Python, so that nothing of this process gets into every part.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import clusterip
from clusterip.cluster.folder import CLUSTERS, Folder, cache, home
from clusterip.cluster.state import SUPERVISOR, ZYGOTE
from clusterip.failure import Failure
from clusterip.kernel import process, zygote
from clusterip.kernel.cgroup import Cgroups, is_ungrouped
from clusterip.kernel.process import Process

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LISTENER_NAME = "host"
BACKLOG = 1024
LOOPBACK = "127.0.0.1"
SHARES = 16 * 1024  # of the processors, for all clusters; a process has 1024


def part_environment() -> dict[str, str]:
    """What every part finds around itself."""
    return {
        "PATH": PATH,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "CLUSTERIP_HOME": str(home()),
        "CLUSTERIP_CACHE": str(cache()),
    }


def open_log(path: Path) -> int:
    """A log file, for appending."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def start_zygote(folder: Folder) -> tuple[subprocess.Popen[bytes], Process]:
    """A zygote, without waiting for its imports; a former one's socket goes first, so that nobody waits at it."""
    folder.zygote_socket.unlink(missing_ok=True)
    source = str(Path(clusterip.__file__).parent.parent)
    environment = part_environment() | {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": ""}
    log = open_log(folder.log(ZYGOTE))
    try:
        started = subprocess.Popen(
            [sys.executable, "-P", "-m", "clusterip.cluster.zygote", "--socket", str(folder.zygote_socket)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(log)
    found = process.of_pid(started.pid)
    if found is None:
        raise Failure(f"the zygote ended at once; see {folder.log(ZYGOTE)}")
    folder.record(ZYGOTE, found)
    join(f"{folder.cgroup}/zygote", started.pid)
    give_weight(Cgroups(), Path("/proc/self/cgroup"))
    return started, found


def join(group: str, pid: int) -> None:
    """Put a process into a group of the cluster; without cgroups it is found by its record."""
    groups = Cgroups()
    with contextlib.suppress(OSError):
        groups.create(group)
        groups.enter(group, pid)


def give_weight(groups: Cgroups, own: Path) -> None:
    """Where other processes are in no group, each counts as much as a group does: a cluster is many of them."""
    with contextlib.suppress(OSError):
        if is_ungrouped("cpu", own.read_text()):
            groups.weigh(CLUSTERS, SHARES)


def procs_files(group: str) -> tuple[str, ...]:
    """The files by which a child joins a group, made now; none where cgroups cannot be had."""
    groups = Cgroups()
    try:
        groups.create(group)
    except OSError:
        return ()
    return groups.procs_files(group)


def listen_on_host(port: int = 0) -> socket.socket:
    """The API's listener on the host's loopback: connections wait in it while no API server runs."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise Failure(f"cannot listen on {LOOPBACK}:{port}: {error.strerror}; another program has the port") from error
    listener.listen(BACKLOG)
    return listener


async def start_supervisor(folder: Folder, listener: socket.socket | None) -> Process:
    """Have the zygote fork the supervisor; a former one's socket goes first, so that nobody waits at it."""
    folder.supervisor_socket.unlink(missing_ok=True)
    log = open_log(folder.log(SUPERVISOR))
    try:
        child = await zygote.spawn(
            str(folder.zygote_socket),
            zygote.Spawn(
                name=SUPERVISOR,
                argv=("up", "--name", folder.name, "--supervise"),
                env=part_environment(),
                cgroup_procs=procs_files(f"{folder.cgroup}/supervisor"),
            ),
            stdout=log,
            stderr=log,
            listeners={LISTENER_NAME: listener.fileno()} if listener else {},
        )
    finally:
        os.close(log)
    folder.record(SUPERVISOR, child.process)
    child.close()
    return child.process
