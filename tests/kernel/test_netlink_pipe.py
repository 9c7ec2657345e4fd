"""Many requests in one send: each has its own fate, in order, however many pieces they go in."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from clusterip.kernel import netns
from clusterip.kernel import rtnetlink as rt
from clusterip.kernel.link import NETLINK_ROUTE
from clusterip.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL
from clusterip.kernel.netlink_pipe import Call, Pipe

pytestmark = pytest.mark.root
LOOPBACK = 1


def address(kind: int, number: int, flags: int = NLM_F_CREATE | NLM_F_EXCL) -> Call:
    packed = bytes((10, 1, number >> 8, number & 255))
    request = rt.address(kind, flags, LOOPBACK, packed, 32, "")
    return Call(request.kind, request.body, request.flags)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    fd = netns.create()
    pipe = netns.inside(fd, lambda: Pipe(NETLINK_ROUTE))
    yield pipe
    pipe.close()
    os.close(fd)


def test_each_call_has_its_own_fate(pipe: Pipe) -> None:
    calls = [address(rt.RTM_NEWADDR, number) for number in (1, 2, 1, 3)]
    calls.append(address(rt.RTM_DELADDR, 9, 0))
    assert pipe.run(calls) == [0, 0, errno.EEXIST, 0, errno.EADDRNOTAVAIL]
    assert pipe.run([]) == []


def test_thousands_go_in_pieces(pipe: Pipe) -> None:
    add = [address(rt.RTM_NEWADDR, number) for number in range(3000)]
    assert set(pipe.run(add)) == {0}
    found = pipe.dump(Call(rt.RTM_GETADDR, rt.IFADDR.pack(rt.AF_INET, 0, 0, 0, 0)), "addresses")
    assert len(found) == 3000
    assert set(pipe.run(add)) == {errno.EEXIST}
    assert pipe.run([address(rt.RTM_NEWADDR, 5000)]) == [0], "no answer is left over"


def test_refusals_are_errors_where_one_is_asked(pipe: Pipe) -> None:
    with pytest.raises(OSError, match="take it off: Cannot assign requested address"):
        pipe.do(address(rt.RTM_DELADDR, 1, 0), "take it off")
    with pytest.raises(OSError, match="link nowhere: No such device"):
        pipe.ask(Call(rt.RTM_GETLINK, rt.link_header() + rt.text(rt.IFLA_IFNAME, "nowhere")), "link nowhere")
    answers = pipe.ask(Call(rt.RTM_GETLINK, rt.link_header() + rt.text(rt.IFLA_IFNAME, "lo")), "link lo")
    assert rt.IFINFO.unpack_from(answers[0].body)[2] == LOOPBACK
    assert pipe.port > 0
