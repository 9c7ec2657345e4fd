"""Processes are told apart by their start time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from clusterip.kernel import process


def test_a_process_is_alive_until_it_ends_though_its_pid_stays() -> None:
    child = subprocess.Popen(["sleep", "60"])
    found = process.of_pid(child.pid)
    assert found is not None
    assert found.alive()
    assert not process.is_alive(child.pid, found.started + 1)
    assert not process.kill_pid(child.pid, found.started + 1)
    pidfd = process.pidfd_open(child.pid, found.started)
    assert not process.wait_ended(pidfd, 0)
    assert found.kill(signal.SIGTERM)
    assert process.wait_ended(pidfd, 5)
    assert not found.alive()  # a zombie is not alive
    os.close(pidfd)
    child.wait()
    assert process.of_pid(child.pid) is None
    assert not found.kill()
    with pytest.raises(ProcessLookupError):
        process.pidfd_open(child.pid, found.started)


def test_the_end_is_awaited() -> None:
    child = subprocess.Popen(["sleep", "60"])
    pidfd = process.pidfd_open(child.pid)

    async def body() -> None:
        waiting = asyncio.create_task(process.wait_pidfd(pidfd))
        await asyncio.sleep(0)
        assert not waiting.done()
        child.kill()
        await asyncio.wait_for(waiting, 30)

    asyncio.run(body())
    os.close(pidfd)
    child.wait()


def test_own_facts() -> None:
    inode = process.namespace_inode("self", "net")
    assert inode is not None
    assert os.getpid() in process.pids_in_namespaces(frozenset({inode}))
    assert process.namespace_inode(2**22 + 1, "net") is None


def test_a_title_replaces_the_command_line() -> None:
    if (pid := os.fork()) == 0:
        code = 1
        try:
            process.set_title(("clusterip", "x" * 10_000))
            shown = Path("/proc/self/cmdline").read_bytes()
            code = 0 if shown.startswith(b"clusterip\0xx") and len(shown) < 9_000 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.root
def test_host_name_and_process_name_in_a_child() -> None:
    if (pid := os.fork()) == 0:
        code = 1
        try:
            process.unshare(process.CLONE_NEWUTS)
            process.sethostname("node-9")
            process.set_name("a-name-of-over-fifteen")
            comm = open("/proc/self/comm").read().strip()  # noqa: SIM115
            code = 0 if (os.uname().nodename, comm) == ("node-9", "a-name-of-over-") else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.uname().nodename != "node-9"
