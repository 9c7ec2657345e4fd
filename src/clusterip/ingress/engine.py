"""HAProxy as a process: checked, started, reloaded, brought back, ended.

Stage: shell.  In: configurations.  Out: a running HAProxy; what it says of one that it refuses.
Rules: a configuration is checked before it takes over; a refused one changes nothing. A reload hands the listening
sockets on, so that no connection is refused. An HAProxy that ends is started again at once; one that an earlier
controller left is replaced the same way.
Layout: FOLDER/run.sock, FOLDER/run.pid, FOLDER/live -> FOLDER/N/ (the configuration's files).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from clusterip.client.backoff import Backoff
from clusterip.failure import Failure
from clusterip.ingress.compile import CONFIG, Config
from clusterip.ingress.runtime import ask

logger = logging.getLogger(__name__)

START_SECONDS, CHECK_SECONDS = 20.0, 60.0
LOOK_SECONDS = 0.01
COMPLAINT = re.compile(r"\[ALERT\]\s*(?:\(\d+\))?\s*:\s*(.*)")
WHERE = re.compile(r"^config : (parsing \[[^]]*\] : )?")
LINE = re.compile(r"([\w.-]+):(\d+)\]|line (\d+) (?:of|in) file '(?:[^']*/)?([\w.-]+)'")


class Engine:
    """One HAProxy."""

    def __init__(self, folder: Path, program: str = "haproxy", restarted: Callable[[], None] = lambda: None) -> None:
        self.folder, self._restarted = folder, restarted
        self.program = found(program)
        self.socket, self._pid_file = folder / "run.sock", folder / "run.pid"
        self._number = max((int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit()), default=0)
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = asyncio.Event()
        self._lock = asyncio.Lock()  # of starts and reloads

    async def refusal(self, config: Config) -> str:
        """What HAProxy says against a configuration; empty when it takes it."""
        folder = self._write(config, self.folder / "check")
        process = await asyncio.create_subprocess_exec(
            self.program,
            *("-c", "-f", str(folder / CONFIG)),  # with -q it would not say what is wrong
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                _, said = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        return "" if process.returncode == 0 else said.decode(errors="replace") or "refused without a word"

    async def put(self, config: Config) -> None:
        """Run a configuration that was checked."""
        async with self._lock:
            self._number += 1
            described = self._described(config)
            folder = self._write(described, self.folder / str(self._number))
            fresh = self.folder / "live.new"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(folder.name)
            fresh.rename(self.folder / "live")
            self._wanted.set()
            if self._process is not None and self._process.returncode is None:
                self._process.send_signal(signal.SIGUSR2)
            else:
                await self._start()
            await self._until_serving()
            self._sweep()

    def _described(self, config: Config) -> Config:
        """With a number, by which the running one is known, and the run-time API's socket."""
        lines = [f"  description generation-{self._number}"]
        lines += [f"  stats socket {self.socket} mode 600 level admin expose-fd listeners"]
        text = config.files[CONFIG].decode().replace("global\n", "global\n" + "\n".join(lines) + "\n", 1)
        return Config({**config.files, CONFIG: text.encode()}, config.owners)

    def _write(self, config: Config, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        for name, content in config.files.items():
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
        return folder

    async def _start(self) -> None:
        arguments = ["-W", "-q", "-f", str(self.folder / "live" / CONFIG), "-p", str(self._pid_file)]
        if predecessor := self._predecessor():
            arguments += ["-x", str(self.socket), "-sf", str(predecessor)]
        said = os.open(self.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                self.program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        finally:
            os.close(said)

    def _predecessor(self) -> int | None:
        """The HAProxy that serves already, of a controller that is gone."""
        try:
            pid = int(self._pid_file.read_text().split()[0])
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError, IndexError):
            return None
        mine = self._process is not None and self._process.pid == pid
        return pid if name == "haproxy" and self.socket.exists() and not mine else None

    async def _until_serving(self) -> None:
        wanted = f"description: generation-{self._number}"
        async with asyncio.timeout(START_SECONDS):
            while True:
                with contextlib.suppress(OSError, TimeoutError):
                    if wanted in await ask(self.socket, "show info") and self._process and hears(self._process.pid):
                        return
                if self._process is None or self._process.returncode is not None:
                    said = (self.folder / "said").read_text(errors="replace")
                    raise Failure(f"haproxy ended as soon as it started: {'; '.join(complaints(said)) or said}")
                await asyncio.sleep(LOOK_SECONDS)

    def _sweep(self) -> None:
        """Remove configurations that nothing runs any more."""
        for path in self.folder.glob("[0-9]*"):
            if path.name.isdigit() and int(path.name) != self._number:
                shutil.rmtree(path, ignore_errors=True)

    async def keep(self) -> NoReturn:
        """Start it again whenever it ends."""
        backoff = Backoff(first=0.01, longest=5.0)
        while True:
            await self._wanted.wait()
            process = self._process
            if process is not None:
                code = await process.wait()
                logger.warning("HAProxy ended, starting it again", extra={"kv": {"code": code}})
            async with self._lock:
                try:
                    if self._process is process:
                        await self._start()
                        await self._until_serving()
                        self._restarted()
                        backoff.reset()
                        continue
                except (Failure, OSError, TimeoutError) as error:
                    logger.error("HAProxy does not start", extra={"kv": {"err": error}})
            await asyncio.sleep(backoff.delay())

    async def end(self, seconds: float) -> None:
        """Let requests under way finish, then end; what is left is removed."""
        process = self._process
        self._wanted.clear()
        if process is not None and process.returncode is None:
            for _ in range(int(seconds / LOOK_SECONDS)):
                if hears(process.pid):
                    break
                await asyncio.sleep(LOOK_SECONDS)
            process.send_signal(signal.SIGUSR1)
            # not asyncio.timeout: this runs in a task that is being cancelled
            await asyncio.wait({ended := asyncio.ensure_future(process.wait())}, timeout=seconds)
            if not ended.done():
                process.terminate()
            await ended
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def hears(pid: int) -> bool:
    """Whether the master takes signals: while it starts they are lost."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return True
    masks = {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}
    if masks.get("State", "").startswith("Z"):
        return True
    wanted = 1 << (signal.SIGUSR2 - 1)
    return bool(int(masks["SigCgt"], 16) & wanted) and not int(masks["SigBlk"], 16) & wanted


def found(program: str) -> str:
    """The program's path."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise Failure(f"{program} is not installed on this machine; run: apt-get install haproxy")
    return path


def reason(sentence: str) -> str:
    """What is wrong, without where: files are the controller's own."""
    return WHERE.sub("", sentence)


def complaints(said: str) -> list[str]:
    """HAProxy's sentences about a configuration."""
    return [match[1] for match in map(COMPLAINT.search, said.splitlines()) if match]


def lines_of(text: str) -> list[tuple[str, int]]:
    """The files and their lines that a sentence names."""
    return [(match[1] or match[4], int(match[2] or match[3])) for match in LINE.finditer(text)]
