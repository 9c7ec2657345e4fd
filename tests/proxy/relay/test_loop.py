"""The relay's loop: nothing is told to whoever took over the number of a closed file, and one error is not the end."""

from __future__ import annotations

import os

import pytest

from clusterip.proxy.relay.loop import INCOMING, Loop


class Pipe:
    def __init__(self) -> None:
        self.out, self.into = os.pipe2(os.O_NONBLOCK)

    def fileno(self) -> int:
        return self.out

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


def test_timers_come_in_order_and_not_early() -> None:
    now = [0.0]
    loop, told = Loop(lambda: now[0]), list[str]()
    loop.at(2, lambda: told.append("two"))
    loop.at(1, lambda: told.append("one"))
    loop.at(1, lambda: told.append("also one"))
    for moment, expected in ((0.5, 0), (1, 2), (3, 3)):
        now[0] = moment
        loop.soon(lambda: None)
        loop.turn()
        assert len(told) == expected
    assert told == ["one", "also one", "two"]


def test_a_file_that_was_closed_in_a_turn_is_told_no_more() -> None:
    loop, told = Loop(), list[int]()
    pipes = [Pipe(), Pipe()]

    def act(of: int) -> None:
        told.append(of)
        loop.close(pipes[1 - of])

    for number, pipe in enumerate(pipes):
        loop.watch(pipe.fileno(), lambda events, number=number: act(number), INCOMING)  # type: ignore[misc]
        os.write(pipe.into, b"x")
    loop.turn()
    loop.soon(lambda: None)
    loop.turn()
    assert len(told) == 1
    pipes[told[0]].close()


def test_an_error_of_one_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    loop, told = Loop(), list[bool]()
    loop.soon(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    loop.soon(lambda: told.append(True))
    loop.turn()
    assert told
    assert "goes on" in caplog.text
