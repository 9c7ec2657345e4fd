"""Tar streams become files below one root, and nowhere else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from clusterip.node.unpack import Unpacker, UnpackFailed, resolve_inside


def archive(*members: tuple[str, str | bytes | None]) -> io.BytesIO:
    """(name, b"content") a file, (name, "target") a link, (name, None) a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mode = 0o755
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    out.seek(0)
    return out


@pytest.fixture
def unpacker(tmp_path: Path) -> Unpacker:
    root = tmp_path / "root"
    root.mkdir()
    return Unpacker(root, owners=False)


def test_a_folder_that_is_a_link_is_followed(unpacker: Unpacker) -> None:
    (unpacker.root / "usr/bin").mkdir(parents=True)
    (unpacker.root / "bin").symlink_to("usr/bin")
    unpacker.add(archive(("./bin", None), ("./bin/sh", b"shell")))
    assert (unpacker.root / "bin").is_symlink()
    assert (unpacker.root / "usr/bin/sh").read_bytes() == b"shell"


@pytest.mark.parametrize("target", ["/", "../..", "/../../..", "../../../tmp"])
def test_no_link_leads_out(unpacker: Unpacker, target: str, tmp_path: Path) -> None:
    unpacker.add(archive(("a/out", target), ("a/out/file", b"x"), ("../../up", b"y"), ("/abs", b"z")))
    assert (unpacker.root / "up").read_bytes() == b"y"
    assert (unpacker.root / "abs").read_bytes() == b"z"
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert sum(1 for path in unpacker.root.rglob("file")) == 1


def test_a_later_layer_replaces_and_hides(unpacker: Unpacker) -> None:
    unpacker.add(archive(("d/one", b"1"), ("d/two", b"2"), ("e/three", b"3"), ("f", None)))
    unpacker.add(
        archive(("d/.wh.one", b""), ("d/two", b"22"), ("e/new", b"n"), ("e/.wh..wh..opq", b""), ("f", b"file")),
        whiteouts=True,
    )
    found = {
        str(path.relative_to(unpacker.root)): path.read_bytes() for path in unpacker.root.rglob("*") if path.is_file()
    }
    assert found == {"d/two": b"22", "e/new": b"n", "f": b"file"}


def test_hard_links_modes_and_choice(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        file = tarfile.TarInfo("a")
        file.size, file.mode, file.mtime = 1, 0o4755, 7
        tar.addfile(file, io.BytesIO(b"x"))
        link = tarfile.TarInfo("b")
        link.type, link.linkname = tarfile.LNKTYPE, "a"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("doc/c"))
    out.seek(0)
    unpacker = Unpacker(tmp_path, keep=lambda name: not name.startswith("doc"), owners=False)
    assert unpacker.add(out) == 2
    state = (tmp_path / "a").stat()
    assert (state.st_mode & 0o7777, state.st_mtime, state.st_nlink) == (0o4755, 7, 2)
    assert not (tmp_path / "doc").exists()


def test_what_is_no_tar_is_said(unpacker: Unpacker) -> None:
    with pytest.raises(UnpackFailed, match="not a readable tar"):
        unpacker.add(io.BytesIO(b"no tar at all" * 100))


def test_links_that_go_round_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UnpackFailed, match="too many links"):
        resolve_inside(tmp_path, "a/x")
