"""Mounts, made in a child's own mount namespace; the host's list stays as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterip.kernel import mount, process

LINES = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 22 0:30 /sub /mnt/a\040b rw,nosuid shared:1 master:2 - tmpfs tmpfs rw,size=4k
31 22 0:4 net:[4026532] /run/ns rw - nsfs nsfs rw
"""


def test_mountinfo_is_read_with_its_optional_fields_and_escapes() -> None:
    root, spaced, ns = mount.parse_mountinfo(LINES)
    assert (root.target, root.fstype, root.super_options) == ("/", "ext4", "rw,discard")
    assert (spaced.target, spaced.root, spaced.source) == ("/mnt/a b", "/sub", "tmpfs")
    assert (ns.root, ns.parent) == ("net:[4026532]", 22)


def test_own_mounts_have_a_root() -> None:
    assert any(found.target == "/" for found in mount.mounts())


def in_child(act: Callable[[], None]) -> int:
    """Run in a child with mounts of its own; its exit code."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            process.unshare(process.CLONE_NEWNS)
            mount.make_private()
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.root
def test_overlay_bind_and_umount(tmp_path: Path) -> None:
    lower, upper, work, target = (tmp_path / name for name in ("lower, a:b", "upper", "work", "target"))
    for folder in (lower, upper, work, target):
        folder.mkdir()
    (lower / "old").write_text("old")
    before = mount.mounts()

    def body() -> None:
        mount.overlay(lower, upper, work, target)
        (target / "new").write_text("new")
        assert sorted(os.listdir(target)) == ["new", "old"]
        assert os.listdir(lower) == ["old"]
        assert os.listdir(upper) == ["new"]
        mount.umount(target)
        mount.bind(lower, target, readonly=True)
        assert os.listdir(target) == ["old"]
        with pytest.raises(OSError, match="Read-only"):
            (target / "x").write_text("")
        mount.umount(target, lazy=True)
        with pytest.raises(OSError, match=r"umount .*target: Invalid argument"):
            mount.umount(target)

    assert in_child(body) == 0
    assert mount.mounts() == before


@pytest.mark.root
def test_a_new_root_forgets_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()

    def body() -> None:
        mount.mount("tmpfs", tmp_path / "root", "tmpfs")
        (tmp_path / "root" / "here").write_text("")
        mount.change_root(tmp_path / "root")
        assert os.listdir("/") == ["here"]
        assert os.getcwd() == "/"

    assert in_child(body) == 0
