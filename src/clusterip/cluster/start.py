"""`up`: from whatever there is (nothing, a running cluster, half of one) to a running cluster.

Stage: commit.  In: `Config`.  Out: a running cluster, and its steps told as they come.
Rules: each thing is made only if it is missing, so that running it again completes what a killed one began.  Files that
belong to processes (sockets, records, the nodes' roots) go when none of those processes lives.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clusterip.cluster import identity, launch, machines, network, progress
from clusterip.cluster.config import Config
from clusterip.cluster.folder import Folder
from clusterip.cluster.state import SUPERVISOR, ZYGOTE
from clusterip.cluster.stop import sweep
from clusterip.cluster.topology import Topology, topology
from clusterip.failure import Failure
from clusterip.kernel import process
from clusterip.kernel.inotify import APPEARED, Inotify
from clusterip.kernel.process import Process

READY_SECONDS = 300.0  # guests on a busy machine take minutes; what holds things up is told meanwhile
ZYGOTE_SECONDS = 120.0  # imports, which take a second when nobody else is at work
OLD_NEWS_SECONDS = 0.2

Say = Callable[[str], None]


class Running(Exception):
    """The cluster runs already; nothing was done."""


def up(folder: Folder, config: Config, kubectl: Path | None, say: Say) -> None:
    """Bring the cluster up; the caller holds its lock."""
    tree = folder.read_cluster()
    living = folder.living() if tree is not None else {}
    if tree is not None and living:
        config = Config.from_tree(tree["config"])
        if SUPERVISOR in living:
            _follow(folder, living[SUPERVISOR], _later(say))
            raise Running
        say("part of the cluster runs already; completing it")
    elif folder.path.exists():
        _forget_former_run(folder)
    _start(folder, config, tree if living else None, kubectl, say)


def _later(say: Say) -> Say:
    """Steps that are told at once are old news; those that come later are not."""
    began = time.monotonic()
    return lambda text: say(text) if time.monotonic() - began > OLD_NEWS_SECONDS else None


def _forget_former_run(folder: Folder) -> None:
    """What a crash, or `down --keep`, left: the store, the keys and the logs stay."""
    sweep(folder)
    for path in (folder.processes, folder.run, folder.path / "nodes"):
        shutil.rmtree(path, ignore_errors=True)
    folder.supervisor_socket.unlink(missing_ok=True)


def _start(folder: Folder, config: Config, tree: dict[str, Any] | None, kubectl: Path | None, say: Say) -> None:
    folder.make()
    folder.node("").mkdir(exist_ok=True)
    zygote = folder.living().get(ZYGOTE) or launch.start_zygote(folder)[1]
    plan = topology(config)
    listener = None if tree is not None else _begin(folder, config, plan)
    _make_machines(folder, plan, kubectl)
    say(f"LAN and {len(plan.nodes)} nodes are there")
    if not wait_for_file(folder.zygote_socket, zygote.pid, ZYGOTE_SECONDS):  # when its imports are done
        raise Failure(f"the zygote does not start; see {folder.log(ZYGOTE)}")
    try:
        supervisor = asyncio.run(launch.start_supervisor(folder, listener))
    except OSError as error:
        raise Failure(f"cannot start the supervisor: {error}; run `clusterip up` again") from error
    if listener is not None:
        listener.close()
    _follow(folder, supervisor, say)


def _begin(folder: Folder, config: Config, plan: Topology) -> socket.socket:
    """What is made once: the API's port, the keys, and at last cluster.json, which says that all of that is there."""
    listener = launch.listen_on_host()
    port = listener.getsockname()[1]
    identity.issue(folder, f"https://{launch.LOOPBACK}:{port}", plan.nodes)
    folder.write_cluster({"config": config.to_tree(), "port": port})
    return listener


def _make_machines(folder: Folder, plan: Topology, kubectl: Path | None) -> None:
    anchors = machines.ensure(folder, plan, kubectl)
    spaces = {name: machines.open_namespaces(anchor.pid) for name, anchor in anchors.items()}
    try:
        network.build(plan, {name: each.net for name, each in spaces.items()})
    finally:
        for each in spaces.values():
            each.close()


def wait_for_file(path: Path, pid: int, timeout_seconds: float) -> bool:
    """Until the process has made the file; False when it ends first, or is late."""
    return path.exists() or asyncio.run(_wait_for_file(path, pid, timeout_seconds))


async def _wait_for_file(path: Path, pid: int, timeout_seconds: float) -> bool:
    with contextlib.suppress(TimeoutError, ProcessLookupError), Inotify() as inotify:
        inotify.watch(path.parent, APPEARED)
        with process.closing_fd(process.pidfd_open(pid)) as pidfd:
            async with asyncio.timeout(timeout_seconds):
                ended = asyncio.create_task(process.wait_pidfd(pidfd))
                while not os.path.exists(path) and not ended.done():  # noqa: ASYNC240 - a look at a local folder
                    happened = asyncio.create_task(inotify.wait())
                    await asyncio.wait({ended, happened}, return_when=asyncio.FIRST_COMPLETED)
                    happened.cancel()
                ended.cancel()
    return os.path.exists(path)  # noqa: ASYNC240


def _follow(folder: Folder, supervisor: Process, say: Say) -> None:
    """Hand on the supervisor's steps until it says ready."""
    seen = False
    try:
        if not wait_for_file(folder.supervisor_socket, supervisor.pid, ZYGOTE_SECONDS):
            raise Failure(f"the supervisor ended; see {folder.log(SUPERVISOR)}")
        deadline = time.monotonic() + READY_SECONDS
        for step in progress.follow(folder.supervisor_socket, READY_SECONDS):
            seen = step.ready
            if time.monotonic() > deadline and not seen:
                raise TimeoutError
            if not seen:
                say(step.text + (f"; see {folder.logs}" if step.trouble else ""))
    except TimeoutError as error:
        raise Failure(f"the cluster is not ready after {READY_SECONDS:.0f} s; see {folder.logs}") from error
    except (OSError, ValueError) as error:
        raise Failure(f"the supervisor ended ({error}); see {folder.log(SUPERVISOR)}") from error
    if not seen:
        raise Failure(f"the supervisor ended; see {folder.log(SUPERVISOR)}")
