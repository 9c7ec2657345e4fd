"""Named packet counters that iptables rules may count in (nfacct).

Stage: kernel.  In: names.  Out: counters that exist; packets by name.
Rules: one namespace's counters; a kernel without them says so by OSError, and the rules then do without.
Truth: linux/netfilter/nfnetlink_acct.h; upstream's nfacct runner.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping

from clusterip.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    attribute,
    attributes,
    error_of,
    message,
    messages,
    netfilter_socket,
)

SUBSYSTEM = 7 << 8
NEW, GET, DELETE = SUBSYSTEM | 0, SUBSYSTEM | 1, SUBSYSTEM | 3
NAME, PACKETS = 1, 2
HEADER = bytes(4)  # struct nfgenmsg: no family
RECEIVE_BUFFER = RECEIVE_BYTES = 1 << 16
PATIENCE_SECONDS = 5


def ensure(name: str) -> None:
    """Make a counter that is not there yet; one that is keeps its number."""
    _change(NEW, name, NLM_F_CREATE | NLM_F_EXCL, errno.EEXIST)


def remove(name: str) -> None:
    """Remove a counter that is there; EBUSY while a rule still counts in it."""
    _change(DELETE, name, 0, errno.ENOENT)


def read() -> Mapping[str, int]:
    """The packets that each counter has seen."""
    content = [attributes(answer.body[len(HEADER) :]) for answer in _ask(GET, NLM_F_DUMP, b"") if answer.kind == NEW]
    return {values[NAME].rstrip(b"\0").decode(): struct.unpack("!Q", values[PACKETS])[0] for values in content}


def _change(kind: int, name: str, flags: int, harmless: int) -> None:
    try:
        _ask(kind, flags | NLM_F_ACK, attribute(NAME, name.encode() + b"\0"))
    except OSError as error:
        if error.errno != harmless:
            raise


def _ask(kind: int, flags: int, body: bytes) -> list[Message]:
    """All answers to a request; OSError when one of them is an error."""
    found: list[Message] = []
    with netfilter_socket(RECEIVE_BUFFER) as opened:
        opened.settimeout(PATIENCE_SECONDS)
        opened.send(message(kind, flags, 1, HEADER + body))
        while not any(answer.kind in (NLMSG_DONE, NLMSG_ERROR) for answer in found):
            found += messages(opened.recv(RECEIVE_BYTES))
    for answer in found:
        if answer.kind == NLMSG_ERROR and (number := error_of(answer.body)):
            raise OSError(number, f"packet counters: {os.strerror(number)}")
    return found
