"""The zygote: one process with every import done, which forks the cluster's parts.

Stage: cluster, acting.  In: requests on a unix socket (kernel/zygote.py has the protocol).  Out: children.
Rules: one thread, no event loop, no socket but its own; nothing here outlives a fork but memory.  A child's stack is
unwound before the part begins, so that it holds nothing of the zygote's.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import clusterip
from clusterip.failure import Failure
from clusterip.kernel import process
from clusterip.kernel.unixsocket import listen
from clusterip.kernel.zygote import (
    LISTENER_PREFIX,
    LISTENERS_VARIABLE,
    MESSAGE_SIZE,
    MOST_FDS,
    Spawn,
)

# What parts import lazily, or only inside a function: at a child's run time it would be paid again and again.
STANDARD = ("encodings.idna", "asyncio", "ssl", "sqlite3", "ipaddress", "uvloop", "multiprocessing")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BACKLOG = 256
LOWEST_KEPT_FD = 64  # descriptors for the child wait here, clear of 0, 1 and 2


def import_all() -> list[str]:
    """Import every module of clusterip; what could not be, with its reason: its part fails when it is asked for."""
    failed = []
    own = (module.name for module in pkgutil.walk_packages(clusterip.__path__, "clusterip."))
    for name in (*STANDARD, *own):
        try:
            importlib.import_module(name)
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return failed


def warm() -> None:
    """Let modules load what all forks then share: a module may have a function `preload`."""
    for name, module in sorted(sys.modules.items()):
        preload = getattr(module, "preload", None) if name.startswith("clusterip.") else None
        if callable(preload):
            with contextlib.suppress(Exception):
                preload()


@dataclass
class Order:
    """A request with its descriptors, on the way to its child."""

    request: Spawn
    fds: dict[str, int]


@dataclass
class Born:
    """A living child: who asked, and the file that tells its end."""

    pid: int
    pidfd: int
    asker: socket.socket | None


@dataclass
class Zygote:
    """The serving loop.  `serve` returns only in a child, with the order that the child has to carry out."""

    listener: socket.socket
    poll: select.poll = field(default_factory=select.poll)
    askers: dict[int, socket.socket] = field(default_factory=dict)  # connected, silent so far
    born: dict[int, Born] = field(default_factory=dict)  # by pidfd

    def serve(self) -> Order:
        self.poll.register(self.listener, select.POLLIN)
        while True:
            for fd, _ in self.poll.poll():
                order = self._one(fd)
                if order is not None:
                    return order

    def _one(self, fd: int) -> Order | None:
        if fd == self.listener.fileno():
            with contextlib.suppress(OSError):
                asker, _ = self.listener.accept()
                self.askers[asker.fileno()] = asker
                self.poll.register(asker, select.POLLIN)
        elif fd in self.born:
            self._bury(self.born.pop(fd))
        elif fd in self.askers:
            asker = self.askers.pop(fd)
            self.poll.unregister(fd)
            return self._request(asker)
        return None

    def _request(self, asker: socket.socket) -> Order | None:
        """Read the one request of a connection and fork; the order, in the child."""
        received: list[int] = []
        try:
            raw, received, _, _ = socket.recv_fds(asker, MESSAGE_SIZE, MOST_FDS)
            if not raw:
                asker.close()
                return None
            request, names = Spawn.from_wire(raw)
            order = Order(request, dict(zip(names, received, strict=True)))
            if (pid := os.fork()) == 0:
                return order
            self._answer(asker, pid)
        except Exception as error:
            with contextlib.suppress(OSError):
                asker.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
            asker.close()
        for fd in received:
            os.close(fd)
        return None

    def _answer(self, asker: socket.socket, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        answer = {"pid": pid, "started": process.start_time(pid) or 0}
        self.born[pidfd] = Born(pid, pidfd, asker)
        self.poll.register(pidfd, select.POLLIN)
        with contextlib.suppress(OSError):  # the asker is gone; the child lives on
            socket.send_fds(asker, [json.dumps(answer).encode()], [pidfd])

    def _bury(self, child: Born) -> None:
        """Reap the child and tell who asked for it."""
        self.poll.unregister(child.pidfd)
        os.close(child.pidfd)
        _, status = os.waitpid(child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if child.asker is not None:
            with contextlib.suppress(OSError):
                child.asker.send(json.dumps({"exit": code if code >= 0 else 128 - code}).encode())
            child.asker.close()

    def open_sockets(self) -> Iterable[socket.socket]:
        yield self.listener
        yield from self.askers.values()
        yield from (child.asker for child in self.born.values() if child.asker is not None)

    def forget(self) -> None:
        """In a child: close what belongs to the zygote."""
        for opened in self.open_sockets():
            opened.close()
        for pidfd in self.born:
            os.close(pidfd)


# -- the child ------------------------------------------------------------------------------------------------------


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _take_streams(fds: dict[str, int]) -> None:
    """Put the streams on 0, 1, 2; the zygote's own stay where none was given."""
    output = fds.get("stdout")
    for number, fd in ((0, fds.get("stdin")), (1, output), (2, fds.get("stderr", output))):
        if fd is not None:
            os.dup2(fd, number)


def _enter(fds: dict[str, int], request: Spawn) -> None:
    """Join the cgroups, while their paths can be seen, and then the namespaces."""
    for path in request.cgroup_procs:
        with open(path, "w", encoding="ascii") as procs:
            procs.write(str(os.getpid()))
    kinds = {"mnt": process.CLONE_NEWNS, "uts": process.CLONE_NEWUTS, "net": process.CLONE_NEWNET}
    for name, kind in kinds.items():
        if name in fds:
            process.setns(fds[name], kind)
    os.chdir("/")


def _listeners(fds: dict[str, int]) -> dict[str, int]:
    return {name.removeprefix(LISTENER_PREFIX): fd for name, fd in fds.items() if name.startswith(LISTENER_PREFIX)}


def _fresh_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _become(order: Order) -> dict[str, str]:
    """Make this process what the order says, short of running; the environment."""
    os.setsid()
    _fresh_signals()
    fds = {name: process.raised(fd, LOWEST_KEPT_FD) for name, fd in order.fds.items()}
    _close_all_but({0, 1, 2, *fds.values()})
    _take_streams(fds)
    _enter(fds, order.request)
    listeners = _listeners(fds)
    _close_all_but({0, 1, 2, *listeners.values()})
    for fd in listeners.values():
        os.set_inheritable(fd, order.request.execute)
    process.set_name(order.request.name)
    process.set_title(("clusterip", *order.request.argv))
    given = {"PATH": DEFAULT_PATH} | dict(order.request.env)
    if listeners:
        given[LISTENERS_VARIABLE] = ",".join(f"{name}={fd}" for name, fd in listeners.items())
    return given


def _run(order: Order, main: Callable[[Sequence[str]], int]) -> int:
    """Run the part; its exit code."""
    try:
        environment = _become(order)
        if order.request.execute:
            os.execvpe(order.request.argv[0], order.request.argv, environment)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["clusterip", *order.request.argv]
        gc.enable()
        return int(main(order.request.argv) or 0)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Failure as failure:
        sys.stderr.write(f"clusterip: {failure}\n")
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
    return 1


def carry_out(order: Order, main: Callable[[Sequence[str]], int]) -> None:
    """In a child: run the order and end, whatever happens."""
    code = 1
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
        code = _run(order, main)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def open_door(path: str) -> socket.socket:
    """Where requests come in; they wait there for whoever serves it."""
    return listen(path, socket.SOCK_SEQPACKET, BACKLOG)


def serve(door: socket.socket) -> Order:
    """Fork what is asked for; returns in each child."""
    zygote = Zygote(door)
    order = zygote.serve()
    zygote.forget()
    return order


def run(path: str) -> None:
    """Be the zygote; does not return."""
    for line in import_all():
        sys.stderr.write(f"zygote: cannot import {line}\n")
    warm()
    main = importlib.import_module("clusterip.main").main  # by name: main is above this layer
    process.set_name("zygote")
    process.set_title(("clusterip-zygote", path))
    gc.collect()
    gc.disable()
    gc.freeze()
    carry_out(serve(open_door(path)), main)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="clusterip-zygote")
    arguments.add_argument("--socket", required=True)
    run(arguments.parse_args().socket)
