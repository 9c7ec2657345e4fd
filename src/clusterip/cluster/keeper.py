"""Keep one part running: start it, wait for its end, start it again after a while.

Stage: commit.  In: a `Part`, the machines' namespaces, listeners.  Out: a process on record; its ends in the log.
Rules: a part that already runs is adopted.  Cancelling the keeper leaves the part running; `stop` ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from clusterip.clock import Clock
from clusterip.cluster.folder import Folder
from clusterip.cluster.launch import open_log, part_environment, procs_files
from clusterip.cluster.machines import Namespaces
from clusterip.cluster.parts import Part
from clusterip.kernel import zygote
from clusterip.kernel.zygote import Child

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 20.0  # who ran this long begins again with the first pause
STOP_SECONDS = 3.0
WORRYING_PAUSE_SECONDS = 0.4  # reached at the third quick end
LOG_TAIL_BYTES = 2000


def last_line(log: Path) -> str:
    """What a part wrote last."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = [line.strip(" |+-") for line in file.read().decode(errors="replace").split("\n")]
        return next((line for line in reversed(lines) if line), "its log is empty")  # exception groups draw frames
    return "it has no log"


@dataclass
class Pauses:
    """How long to wait before the next start."""

    pause: float = 0.0

    def after(self, lived_seconds: float) -> float:
        """The pause after a life of this length: none after a long one, else twice the last one."""
        if lived_seconds >= STEADY_SECONDS:
            self.pause = 0.0
            return 0.0
        self.pause = min(max(self.pause * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        return self.pause


@dataclass
class Keeper:
    """One part and its present process."""

    part: Part
    folder: Folder
    clock: Clock
    namespaces: Callable[[], Namespaces | None]  # None: the host's own
    listener: Callable[[str], socket.socket]
    complain: Callable[[str], Awaitable[None]]
    child: Child | None = None
    pauses: Pauses = field(default_factory=Pauses)

    async def run(self) -> None:
        """Keep the part running until cancelled."""
        self.child = self._adopt()
        while True:
            began = self.clock.monotonic()
            try:
                if self.child is None:
                    self.child = await self._start()
                code = await self.child.wait()
                self._release()
                logger.warning("A part ended", extra={"kv": {"part": self.part.name, "code": code}})
            except OSError as error:  # no zygote just now: it is being replaced
                logger.warning("Cannot start a part", extra={"kv": {"part": self.part.name, "err": error}})
            pause = self.pauses.after(self.clock.monotonic() - began)
            if pause >= WORRYING_PAUSE_SECONDS:
                await self.complain(f"{self.part.name} keeps ending: {last_line(self.part.log)}")
            await asyncio.sleep(pause)

    def _adopt(self) -> Child | None:
        found = self.folder.recorded().get(self.part.name)
        if found is None or not found.alive():
            return None
        with contextlib.suppress(ProcessLookupError):
            child = zygote.adopt(found)
            logger.info("Adopted a part", extra={"kv": {"part": self.part.name, "pid": found.pid}})
            return child
        return None

    async def _start(self) -> Child:
        part, spaces = self.part, self.namespaces()
        request = zygote.Spawn(
            name=part.title,
            argv=part.argv,
            env=part_environment() | dict(part.environment or {}),
            cgroup_procs=procs_files(part.cgroup),
            execute=part.execute,
        )
        log = open_log(part.log)
        try:
            child = await zygote.spawn(
                str(self.folder.zygote_socket),
                request,
                net=spaces.net if spaces else None,
                mnt=spaces.mnt if spaces and part.own_files else None,
                uts=spaces.uts if spaces and part.own_files else None,
                stdout=log,
                stderr=log,
                listeners={name: self.listener(name).fileno() for name in part.listeners},
            )
        finally:
            os.close(log)
        self._record(child)
        logger.info("Started a part", extra={"kv": {"part": part.name, "pid": child.pid}})
        return child

    def _record(self, child: Child) -> None:
        """Without its record (a full disk) the part runs all the same; `down` finds it by its control group."""
        try:
            self.folder.record(self.part.name, child.process)
        except OSError as error:
            logger.warning("Cannot record a part", extra={"kv": {"part": self.part.name, "err": error.strerror}})

    def _release(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None

    async def stop(self) -> None:
        """End the part: SIGTERM, and SIGKILL when it takes too long.  The keeper must not run any more."""
        if self.child is None:
            return
        try:
            for sig in (signal.SIGTERM, signal.SIGKILL):
                self.child.kill(sig)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STOP_SECONDS):
                        await self.child.wait()
                        return
        finally:
            self._release()
            self.folder.forget(self.part.name)
