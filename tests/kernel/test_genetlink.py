"""Generic netlink against the kernel: families are found by name, refusals are told call by call."""

from __future__ import annotations

import errno

import pytest

from clusterip.kernel.genetlink import CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, CTRL_VERSION, Command, Genetlink
from clusterip.kernel.netlink import attribute

NAMES = 2


def named(name: str) -> Command:
    return Command(CTRL_CMD_GETFAMILY, attribute(CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0"))


def test_a_family_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match="netlink family clusterip-none"):
        Genetlink("clusterip-none", 1)


def test_a_family_answers() -> None:
    control = Genetlink("nlctrl", CTRL_VERSION)
    assert control.ask(named("nlctrl"))[NAMES] == b"nlctrl\0"
    assert b"nlctrl\0" in [family[NAMES] for family in control.dump(Command(CTRL_CMD_GETFAMILY))]
    codes = control.run([named("nlctrl"), named("clusterip-none"), named("nlctrl")])
    assert codes == [0, errno.ENOENT, 0]
    control.close()
