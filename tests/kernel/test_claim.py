"""A name held by one process: seen by others, gone with its socket."""

from __future__ import annotations

import os
import subprocess

from clusterip.kernel.claim import hold, holder

NAME = f"clusterip-test-{os.getpid()}"


def test_a_name_is_held_once_and_its_holder_is_known() -> None:
    assert holder(NAME) == 0
    held = hold(NAME)
    assert held is not None
    assert hold(NAME) is None
    assert holder(NAME) == os.getpid()
    held.close()
    again = hold(NAME)
    assert again is not None
    again.close()


def test_a_program_that_outlives_its_starter_keeps_the_name() -> None:
    held = hold(NAME)
    assert held is not None
    with subprocess.Popen(("cat",), stdin=subprocess.PIPE, close_fds=False) as child:
        held.close()
        assert hold(NAME) is None
        assert child.stdin
        child.stdin.close()
    again = hold(NAME)
    assert again is not None
    again.close()
