"""A name held by one process: seen by others, gone with its socket."""

from __future__ import annotations

import os

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
