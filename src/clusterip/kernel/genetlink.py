"""Generic netlink: families by name, calls by command.

Stage: kernel.  In: a family's name, commands, attributes.  Out: an errno for each call; what is there, by attribute.
Rules: what commands and attributes mean is the business of the module that asks.  Asking for a family makes the kernel
look for its module.
Truth: linux/genetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from clusterip.kernel.netlink import attribute, attributes
from clusterip.kernel.netlink_pipe import Call, Pipe

NETLINK_GENERIC = 16
GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY, CTRL_VERSION = 3, 2
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2
HEADER = struct.Struct("=BBH")


class Command(NamedTuple):
    """What is asked of a family."""

    number: int
    content: bytes = b""
    flags: int = 0


class Genetlink:
    """A family; FileNotFoundError when the kernel has none of this name."""

    def __init__(self, name: str, version: int) -> None:
        self._pipe = Pipe(NETLINK_GENERIC)
        self._name, self._version = name, version
        try:
            self._family = self._find(name)
        except OSError:
            self._pipe.close()
            raise

    def close(self) -> None:
        self._pipe.close()

    def _find(self, name: str) -> int:
        wanted = attribute(CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0")
        body = HEADER.pack(CTRL_CMD_GETFAMILY, CTRL_VERSION, 0) + wanted
        answer = self._pipe.ask(Call(GENL_ID_CTRL, body), f"netlink family {name}")[0]
        return int.from_bytes(attributes(answer.body[HEADER.size :])[CTRL_ATTR_FAMILY_ID], "little")

    def _call(self, command: Command) -> Call:
        return Call(self._family, HEADER.pack(command.number, self._version, 0) + command.content, command.flags)

    def run(self, commands: Sequence[Command]) -> list[int]:
        """Make the calls; the errno of each, 0 for what was done."""
        return self._pipe.run([self._call(command) for command in commands])

    def dump(self, command: Command) -> list[dict[int, bytes]]:
        """All objects, by their attributes."""
        found = self._pipe.dump(self._call(command), self._name)
        return [attributes(answer.body[HEADER.size :]) for answer in found]

    def ask(self, command: Command) -> dict[int, bytes]:
        """One object."""
        answers = self._pipe.ask(self._call(command), self._name)
        return attributes(answers[0].body[HEADER.size :]) if answers else {}
