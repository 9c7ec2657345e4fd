"""Packages become images: what maintainer scripts would have done is there, and a second build does nothing."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from clusterip.failure import Failure
from clusterip.kernel.packages import Archive, PackagesFailed
from clusterip.node import imagebuild
from clusterip.node.catalog import Entry, File, User
from clusterip.node.images import Image, ImageStore
from clusterip.node.imagespec import ImageConfig

pytestmark = pytest.mark.root

ENTRY = Entry(
    name="docker.io/library/busybox",
    packages=("thing",),
    versioned_by="thing",
    config=ImageConfig(cmd=("thing",), user="web"),
    users=(User("web", 101, 101, "/srv"),),
    files=(File("run.sh", "#!/bin/sh\n", 0o755),),
    links=(("bin/sh", "thing"),),
)
FILES = {"./bin/thing": b"t", "./usr/share/doc/thing/copyright": b"c", "./usr/share/ca-certificates/x/a.crt": b"CERT\n"}


class FakeApt:
    """A mirror with one package; it can be out of reach, or want its lists refreshed first."""

    reachable = True
    stale = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def resolve(self, packages: Sequence[str]) -> tuple[Archive, ...]:
        return (Archive("thing_1%3a2.5-1_all.deb", 3),)

    def fetch(self, packages: Sequence[str]) -> None:
        if not FakeApt.reachable or FakeApt.stale:
            raise PackagesFailed("Failed to fetch http://mirror/thing.deb  Could not resolve 'mirror'")
        (self.folder / "thing_1%3a2.5-1_all.deb").write_bytes(b"deb")

    def refresh(self) -> None:
        FakeApt.stale = False

    @contextmanager
    def open(self, archive: Archive) -> Iterator[IO[bytes]]:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in FILES.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o755
                tar.addfile(member, io.BytesIO(content))
        out.seek(0)
        yield out


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    monkeypatch.setattr(imagebuild, "Apt", FakeApt)
    monkeypatch.setattr(imagebuild, "missing_tools", list)
    monkeypatch.setattr(FakeApt, "reachable", True)
    monkeypatch.setattr(FakeApt, "stale", False)
    return ImageStore(tmp_path / "images")


def build(store: ImageStore) -> list[str]:
    lines: list[str] = []
    imagebuild.build(store, store.folder.parent / "debs", [ENTRY], lines.append)
    return lines


def test_an_image_is_built_once(store: ImageStore) -> None:
    assert imagebuild.outdated(store, [ENTRY]) == [ENTRY]
    assert build(store)[-1] == "image busybox: built 2.5 from 1 packages"
    assert imagebuild.outdated(store, [ENTRY]) == []
    image = store.resolve("busybox")
    assert isinstance(image, Image)
    root = image.rootfs
    assert root is not None
    assert (root / "usr/bin/thing").read_bytes() == b"t"
    assert (root / "bin/sh").readlink() == Path("thing")
    assert "web:x:101:101:web:/srv:" in (root / "etc/passwd").read_text()
    assert (root / "etc/ssl/certs/ca-certificates.crt").read_text() == "CERT\n"
    assert (root / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert not (root / "usr/share/doc").exists()


def test_equal_packages_make_equal_images(store: ImageStore) -> None:
    build(store)
    first = store.records()[ENTRY.name]
    build(store)
    assert store.records()[ENTRY.name] == first
    assert [path.name for path in store.folder.iterdir() if path.is_dir()] == [first.folder]


def test_old_lists_are_refreshed(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeApt, "stale", True)
    assert "refreshing the package lists" in build(store)


def test_a_mirror_out_of_reach_is_one_clear_line(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeApt, "reachable", False)
    with pytest.raises(Failure, match=r"image busybox cannot be built: Failed to fetch .*does this machine reach"):
        build(store)
    assert not store.records()


def test_missing_programs_are_named(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagebuild, "missing_tools", lambda: ["dpkg-deb"])
    with pytest.raises(Failure, match="image build needs dpkg-deb"):
        build(store)
