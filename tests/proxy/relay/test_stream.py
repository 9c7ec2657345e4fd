"""A direction through a pipe: what it holds, what it waits for, and what becomes of pipes."""

from __future__ import annotations

import os
import socket

import pytest

from clusterip.proxy.relay.stream import PIPES_KEPT, Direction, Pipes


def pairs() -> list[socket.socket]:
    made = [*socket.socketpair(), *socket.socketpair()]
    for sock in made:
        sock.setblocking(False)
    return made


def test_pipes_are_used_again_and_not_hoarded() -> None:
    before = len(os.listdir("/proc/self/fd"))
    pipes = Pipes()
    taken = [pipe for _ in range(PIPES_KEPT + 10) if (pipe := pipes.take())]
    for pipe in taken:
        pipes.give_back(pipe, is_empty=True)
    assert len(os.listdir("/proc/self/fd")) == before + 2 * PIPES_KEPT
    again = pipes.take()
    assert again in taken
    pipes.give_back(again or (0, 0), is_empty=False)
    pipes.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_pipe_it_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, source, sink, reader = pairs()
    pipes = Pipes()
    direction = Direction(source, sink, pipes)
    direction.readable = True
    writer.send(b"bytes")
    told: list[bool] = []
    lent = pipes.take()
    assert lent

    def exhausted(flags: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pipe2", exhausted)
        assert not direction.pump()
        assert direction.starved
        pipes.wait(lambda: told.append(True))
        pipes.give_back(lent, is_empty=True)
        assert told
        direction.pump()
    assert not direction.starved
    assert reader.recv(10) == b"bytes"
    writer.close()
    direction.readable = True
    direction.pump()
    assert direction.done
    assert reader.recv(10) == b""
    for sock in (source, sink, reader):
        sock.close()
    pipes.close()


def test_bytes_that_the_sink_does_not_take_stay_in_the_pipe() -> None:
    writer, source, sink, reader = pairs()
    pipes = Pipes()
    direction = Direction(source, sink, pipes)
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    sent = 0
    while not direction.held:
        sent += writer.send(b"x" * 4096)
        direction.readable = True
        direction.pump()
    assert not direction.writable
    got = 0
    while got < sent:
        try:
            got += len(reader.recv(1 << 20))
        except BlockingIOError:
            direction.writable = direction.readable = True
            direction.pump()
    assert direction.held == 0
    for sock in (writer, source, sink, reader):
        sock.close()
    pipes.close()
