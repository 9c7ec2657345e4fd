"""The supervisor: keeps the cluster's parts, its zygote and its anchors running, and ends the parts in order.

Stage: commit.  In: the state folder as `up` left it.  Out: running parts.
Rules: it lives in the host's namespaces and holds open files of every machine's namespaces, so that no machine is lost
with its anchor.  Its own death ends nothing: the next `up` starts another, which adopts.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from clusterip.api.errors import ApiError
from clusterip.client.config import from_kubeconfig
from clusterip.client.rest import Client
from clusterip.clock import Clock
from clusterip.cluster import cables, etcdrelay, launch, machine, machines
from clusterip.cluster.bootstrap import bring_up
from clusterip.cluster.config import Config
from clusterip.cluster.folder import Folder, own_process
from clusterip.cluster.keeper import FIRST_PAUSE_SECONDS, Keeper
from clusterip.cluster.machines import Namespaces, anchor_name
from clusterip.cluster.parts import DNS_LISTENERS, HOST_LISTENER, LAN_LISTENER, parts
from clusterip.cluster.progress import Progress
from clusterip.cluster.state import SUPERVISOR, ZYGOTE
from clusterip.cluster.topology import API_PORT, CONTROL, LAN, LAN_ADDRESS, Topology, topology
from clusterip.failure import Failure
from clusterip.kernel import netns, process
from clusterip.kernel.process import Process

logger = logging.getLogger(__name__)

BRING_UP_SECONDS = 1.0
DNS_PORT = 53


@dataclass
class Supervisor:
    """One cluster's supervisor."""

    folder: Folder
    config: Config
    port: int
    clock: Clock
    host_listener: socket.socket | None
    progress: Progress = field(default_factory=Progress)
    namespaces: dict[str, Namespaces] = field(default_factory=dict)
    listeners: dict[str, socket.socket] = field(default_factory=dict)

    async def run(self) -> None:
        """Until SIGTERM; then the parts are ended."""
        plan = topology(self.config)
        for each in plan.machines:
            self.namespaces[each.name] = machines.open_namespaces(self._anchor(each.name).pid)
        keepers = self._keepers(plan)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        work = asyncio.create_task(self._keep(plan, keepers), name="keep")
        stopping = asyncio.create_task(stop.wait(), name="SIGTERM")
        done, _ = await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        stopping.cancel()
        if work in done:
            work.result()
        with suppress(asyncio.CancelledError):
            await work
        await self._stop(keepers)

    def _anchor(self, name: str) -> Process:
        found = self.folder.recorded().get(anchor_name(name))
        if found is None or not found.alive():
            raise Failure(f"machine {name} has gone; run `clusterip up` again")
        return found

    async def _complain(self, text: str) -> None:
        """Tell it to those who wait for the cluster."""
        if not self.progress.done:
            await self.progress.say(text, trouble=True)

    def _keepers(self, plan: Topology) -> list[Keeper]:
        return [
            Keeper(
                part=part,
                folder=self.folder,
                clock=self.clock,
                namespaces=partial(self.namespaces.get, part.machine),
                listener=self.listener,
                complain=self._complain,
            )
            for part in parts(self.folder, self.config, plan)
        ]

    async def _keep(self, plan: Topology, keepers: list[Keeper]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.progress.serve(self.folder.supervisor_socket), name="progress")
            group.create_task(self._keep_zygote(), name="zygote")
            relay = etcdrelay.run(self.folder.run / etcdrelay.SOCKET, etcdrelay.places(self.config))
            group.create_task(relay, name="etcd relay")
            for each in plan.machines:
                group.create_task(self._keep_anchor(each.name), name=anchor_name(each.name))
            for keeper in keepers:
                group.create_task(keeper.run(), name=keeper.part.name)
            nets = {name: spaces.net for name, spaces in self.namespaces.items()}
            group.create_task(cables.keep(plan, nets), name="cables")
            group.create_task(self._bring_up(), name="bring up")

    async def _bring_up(self) -> None:
        """Whatever goes wrong with it is said and tried again: the parts run on."""
        nets = {name: spaces.net for name, spaces in self.namespaces.items()}
        while True:
            try:
                async with Client(from_kubeconfig(self.folder.kubeconfig), field_manager="clusterip") as client:
                    await bring_up(client, self.config, nets, self.progress)
                    why = ""
            except* (ApiError, OSError, Failure) as errors:
                why = " ".join(str(_first(errors)).split())
            if not why:
                return
            logger.warning("Cannot bring the cluster up", extra={"kv": {"err": why}})
            await self.progress.say(why, trouble=True)
            await asyncio.sleep(BRING_UP_SECONDS)

    # -- listeners ----------------------------------------------------------------------------------------------------

    def listener(self, name: str) -> socket.socket:
        """A part's listener.  Held here: while the part is restarted, who asks waits instead of being refused."""
        found = self.listeners.get(name)
        if found is None:
            found = self.listeners[name] = self._listen(name)
        return found

    def _listen(self, name: str) -> socket.socket:
        if name == HOST_LISTENER:
            return self.host_listener or launch.listen_on_host(self.port)
        machine, open_one = INSIDE[name]
        return netns.inside(self.namespaces[machine].net, open_one)

    # -- what keeps the rest ------------------------------------------------------------------------------------------

    async def _keep_zygote(self) -> None:
        """Replace a zygote that ended; its children live on."""
        started: subprocess.Popen[bytes] | None = None
        while True:
            await _ended(self.folder.recorded().get(ZYGOTE))
            if started is not None:
                started.wait()
            logger.warning("The zygote ended; starting another")
            await asyncio.sleep(FIRST_PAUSE_SECONDS)
            started, _ = launch.start_zygote(self.folder)

    async def _keep_anchor(self, name: str) -> None:
        """Hold a machine by another anchor when its own ended: the namespaces are still open here."""
        while True:
            ended = self.folder.recorded().get(anchor_name(name))
            await _ended(ended)
            if ended is not None:
                _reap(ended.pid)
            logger.warning("An anchor ended; holding its machine by another", extra={"kv": {"machine": name}})
            spaces = self.namespaces[name]
            procs = launch.procs_files(f"{self.folder.cgroup}/anchors")
            made = machine.hold((spaces.uts, spaces.net, spaces.mnt), name, procs)
            self.folder.record(anchor_name(name), made)

    async def _stop(self, keepers: list[Keeper]) -> None:
        """End the parts, those first that would miss the others."""
        for order in sorted({keeper.part.stop_order for keeper in keepers}):
            group = [keeper.stop() for keeper in keepers if keeper.part.stop_order == order]
            await asyncio.gather(*group)
        self.folder.supervisor_socket.unlink(missing_ok=True)


def _listen_on_lan() -> socket.socket:
    """Port 6443 on every address of the control namespace."""
    return socket.create_server(("0.0.0.0", API_PORT), backlog=launch.BACKLOG)


def _dns_by_udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.bind((str(LAN_ADDRESS.ip), DNS_PORT))
    return sock


def _dns_by_tcp() -> socket.socket:
    return socket.create_server((str(LAN_ADDRESS.ip), DNS_PORT), backlog=launch.BACKLOG)


# the listeners inside the cluster: on which machine, and how
INSIDE = {
    LAN_LISTENER: (CONTROL, _listen_on_lan),
    DNS_LISTENERS[0]: (LAN, _dns_by_udp),
    DNS_LISTENERS[1]: (LAN, _dns_by_tcp),
}


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    """One of the errors of a group."""
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _reap(pid: int) -> None:
    """An anchor that was made here is our child."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


async def _ended(found: Process | None) -> None:
    """Return when the process has ended."""
    if found is None:
        return
    try:
        pidfd = process.pidfd_open(found.pid, found.started)
    except ProcessLookupError:
        return
    with process.closing_fd(pidfd):
        await process.wait_pidfd(pidfd)


@contextmanager
def _alone(folder: Folder) -> Iterator[None]:
    """One supervisor per cluster."""
    fd = os.open(folder.path / "supervisor.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Failure(f"cluster {folder.name} already has a supervisor") from None
    try:
        yield
    finally:
        os.close(fd)


async def supervise(folder: Folder, clock: Clock, host_listener: socket.socket | None) -> None:
    """Be the supervisor until SIGTERM."""
    tree = folder.read_cluster()
    if tree is None:
        raise Failure(f"no cluster {folder.name}: `clusterip up` starts one")
    with _alone(folder):
        folder.record(SUPERVISOR, own_process())
        await Supervisor(folder, Config.from_tree(tree["config"]), tree["port"], clock, host_listener).run()
