"""Containers by an OCI runtime under conmon.

Stage: commit.  In: bundles.  Out: running processes that outlive the agent; their ends as exit files.
Rules: conmon holds the terminal, the attach socket, the log and the exit file; the agent may die at any time.
`runc start` is one read of the fifo on which the created process waits, so it is done here (6 ms less).
Truth: conmon(8) and its sync pipe; runc's libcontainer (exec.fifo); OCI runtime-spec.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from clusterip.kernel import process

CREATE_SECONDS = 60.0
START_SECONDS = 10.0
DELETE_SECONDS = 20.0
PID_LOOKS, PID_LOOK_SECONDS = 40, 0.05
OUTPUT_LIMIT = 10 * 1024
MESSAGE = re.compile(r'msg="((?:[^"\\]|\\.)*)"')
NULL = asyncio.subprocess.DEVNULL


class RuntimeRefused(Exception):
    """The runtime could not create or start the container; its own words."""


@dataclass(frozen=True, slots=True)
class Created:
    """A created container: its first process waits to be started."""

    first: process.Process
    monitor: process.Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """How a container's standard streams are held."""

    log_path: Path
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False

    def arguments(self) -> list[str]:
        chosen = ["-l", f"k8s-file:{self.log_path}"]
        chosen += ["-t"] if self.tty else []
        chosen += ["-i"] if self.stdin else []
        chosen += ["--leave-stdin-open"] if self.stdin and not self.stdin_once else []
        return chosen


class Runtime:
    """One runtime program with its state folder."""

    def __init__(self, program: str, monitor: str, state: Path, sockets: Path) -> None:
        self.program, self.monitor, self.state, self.sockets = program, monitor, state, sockets
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        sockets.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def command(self) -> tuple[str, ...]:
        """How the runtime is called on this node's containers."""
        return self.program, "--root", str(self.state)

    def attach_socket(self, id: str) -> Path:
        return self.sockets / id / "attach"

    async def create(self, id: str, bundle: Path, streams: Streams) -> Created:
        """Create the container; RuntimeRefused with the runtime's words."""
        (bundle / "exits").mkdir(exist_ok=True)
        receive, send = os.pipe()
        os.set_blocking(receive, False)
        try:
            monitor = await asyncio.create_subprocess_exec(
                *self._monitor_command(id, bundle, streams),
                stdin=NULL,
                stdout=NULL,
                stderr=NULL,
                pass_fds=[send],
                cwd=bundle,
                env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "_OCI_SYNCPIPE": str(send)},
            )
            os.close(send)
            send = -1
            async with asyncio.timeout(CREATE_SECONDS):
                answer = await _read_line(receive)
                await monitor.wait()
        except TimeoutError as error:
            raise RuntimeRefused(f"{self.monitor}: no answer within {CREATE_SECONDS:.0f} s") from error
        except OSError as error:
            raise RuntimeRefused(f"cannot run {self.monitor}: {error.strerror}") from error
        finally:
            os.close(receive)
            if send >= 0:
                os.close(send)
        return self._created(answer, bundle)

    def _monitor_command(self, id: str, bundle: Path, streams: Streams) -> list[str]:
        return [
            self.monitor, "--api-version", "1", "-c", id, "-u", id, "-r", self.program, "-b", str(bundle),
            "-p", str(bundle / "pid"), "-P", str(bundle / "monitor.pid"), "--exit-dir", str(bundle / "exits"),
            "--persist-dir", str(bundle), "--socket-dir-path", str(self.sockets), "--no-sync-log",
            "--runtime-arg", "--root", "--runtime-arg", str(self.state), *streams.arguments(),
        ]  # fmt: skip

    def _created(self, answer: bytes, bundle: Path) -> Created:
        try:
            said = orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise RuntimeRefused(f"{self.monitor} ended without an answer: {answer.decode(errors='replace')}") from None
        if said["data"] <= 0:
            raise RuntimeRefused(words_of(said.get("message") or "the runtime gave no reason"))
        first = process.of_pid(said["data"])
        monitor = process.of_pid(int((bundle / "monitor.pid").read_text()))
        if first is None:
            raise RuntimeRefused("the container's first process ended before it was started")
        return Created(first, monitor or process.Process(0, 0))

    async def start(self, id: str) -> None:
        """Let the created process execute its program."""
        path = self.state / id / "exec.fifo"
        try:
            fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            await self._start_by_command(id)
            return
        try:
            async with asyncio.timeout(START_SECONDS):
                await _readable(fifo)
            os.read(fifo, 16)
        except TimeoutError as error:
            raise RuntimeRefused(f"the container did not start within {START_SECONDS:.0f} s") from error
        finally:
            os.close(fifo)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    async def _start_by_command(self, id: str) -> None:
        code, output = await run([*self.command, "start", id], START_SECONDS)
        if code != 0:
            raise RuntimeRefused(words_of(output.decode(errors="replace")))

    async def delete(self, id: str) -> None:
        """Forget the container: its state, its cgroup, its socket. What is not there is no error."""
        if (self.state / id).exists():
            await run([*self.command, "delete", "--force", id], DELETE_SECONDS)
        with contextlib.suppress(OSError):
            (self.sockets / id).unlink()

    async def execute(self, id: str, argv: Sequence[str], timeout: float) -> tuple[int | None, bytes]:
        """Run a command in the container: exit code (None: too late) and what it printed."""
        with tempfile.TemporaryDirectory(prefix="exec-", dir=self.state.parent) as folder:
            file = Path(folder, "pid")
            command = [*self.command, "exec", "--pid-file", str(file), id, *argv]
            return await run(command, timeout, lambda: _end_inside(file))


async def _end_inside(file: Path) -> None:
    """End a command before the runtime that runs it, which would leave it behind in its container.

    The file appears a moment after the command has begun.
    """
    for _ in range(PID_LOOKS):
        if _killed(file):
            return
        await asyncio.sleep(PID_LOOK_SECONDS)


def _killed(file: Path) -> bool:
    """Whether the file says whom to kill; that is done."""
    try:
        late = process.of_pid(int(file.read_text()))
    except (OSError, ValueError):
        return False
    if late is not None:
        late.kill()
    return True


async def _nothing() -> None:
    return


def exit_code(bundle: Path, id: str) -> int | None:
    """What conmon wrote when the container ended; None when it did not."""
    try:
        return int((bundle / "exits" / id).read_text())
    except (OSError, ValueError):
        return None


def words_of(text: str) -> str:
    """The message inside a runtime's log line."""
    found = MESSAGE.findall(text)
    raw = found[-1].replace('\\"', '"').replace("\\\\", "\\") if found else text
    return " ".join(raw.replace("\\n", " ").split())


async def run(
    argv: Sequence[str], timeout: float, before_kill: Callable[[], Awaitable[None]] = _nothing
) -> tuple[int | None, bytes]:
    """Run a program to its end: exit code (None: it was killed, being late) and the beginning of its output.

    Whoever waits no longer, being cancelled, ends the program too.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            *argv, stdin=NULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        return 127, f"{argv[0]}: {error.strerror}".encode()
    try:
        async with asyncio.timeout(timeout):
            output, _ = await child.communicate()
    except TimeoutError:
        return None, b""
    finally:
        if child.returncode is None:
            await before_kill()
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return child.returncode, output[:OUTPUT_LIMIT]


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def _read_line(fd: int) -> bytes:
    """What comes up to a newline or the end."""
    found = b""
    while not found.endswith(b"\n"):
        await _readable(fd)
        chunk = os.read(fd, 65536)
        if not chunk:
            break
        found += chunk
    return found


def find(programs: Sequence[str] = ("runc", "crun")) -> str | None:
    """The first runtime that is installed."""
    return next((path for path in map(shutil.which, programs) if path), None)
