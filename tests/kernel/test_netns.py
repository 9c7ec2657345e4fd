"""Network namespaces: the caller stays where it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clusterip.kernel import mount, netns, process
from clusterip.kernel.link import Netlink

pytestmark = pytest.mark.root


def test_a_new_namespace_has_loopback_alone_and_the_caller_stays_outside() -> None:
    own = netns.open_own()
    fd = netns.create()
    try:
        with Netlink(fd) as links:
            assert [link.name for link in links.links() if link.kind == ""][:1] == ["lo"]
        here = netns.open_own()
        assert netns.inode(here) == netns.inode(own) != netns.inode(fd)
        assert netns.inside(fd, lambda: os.stat(netns.OWN).st_ino) == netns.inode(fd)
        os.close(here)
    finally:
        os.close(fd)
        os.close(own)


def test_what_goes_wrong_inside_comes_out() -> None:
    fd = netns.create()
    try:
        with pytest.raises(ZeroDivisionError):
            netns.inside(fd, lambda: 1 // 0)
    finally:
        os.close(fd)


def test_a_process_shows_its_namespace() -> None:
    fd = netns.open_of_pid(os.getpid())
    own = netns.open_own()
    assert netns.inode(fd) == netns.inode(own) == process.namespace_inode(os.getpid(), "net")
    os.close(fd)
    os.close(own)


def test_a_cookie_names_one_namespace_only() -> None:
    one, other, again = netns.create(), netns.create(), netns.open_own()
    assert netns.cookie(one) == netns.cookie(one) != netns.cookie(other)
    assert netns.cookie(again) not in (netns.cookie(one), netns.cookie(other))
    for fd in (one, other, again):
        os.close(fd)


def _in_private_mounts(act: object) -> int:
    """Run in a child with mounts of its own; its exit code."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            process.unshare(process.CLONE_NEWNS)
            mount.make_private()
            act()  # type: ignore[operator]
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_pin_keeps_it_alive(tmp_path: Path) -> None:
    path = tmp_path / "pinned"

    def body() -> None:
        fd = netns.create()
        number = netns.inode(fd)
        netns.pin(fd, path)
        os.close(fd)
        again = netns.open_pinned(path)
        assert netns.inode(again) == number
        netns.unpin(path)
        netns.unpin(path)
        assert not path.exists()

    assert _in_private_mounts(body) == 0
