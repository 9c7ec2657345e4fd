"""Archives of images become images of the store."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from clusterip.failure import Failure
from clusterip.node.imageload import load
from clusterip.node.images import Image, ImageStore

pytestmark = pytest.mark.root


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


LAYER = tar_of({"bin/app": b"one", "gone": b"x"})
SECOND = tar_of({".wh.gone": b""})
CONFIG = json.dumps({"config": {"Cmd": ["/bin/app"], "User": "7"}}).encode()


def docker_archive(names: list[str]) -> bytes:
    manifest = [{"Config": "c.json", "RepoTags": names, "Layers": ["1/layer.tar", "2/layer.tar"]}]
    return tar_of(
        {"manifest.json": json.dumps(manifest).encode(), "c.json": CONFIG, "1/layer.tar": LAYER, "2/layer.tar": SECOND}
    )


def oci_archive() -> bytes:
    blobs: dict[str, bytes] = {}

    def blob(content: bytes) -> dict[str, str]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}"}

    manifest = {"config": blob(CONFIG), "layers": [blob(LAYER), blob(SECOND)]}
    inner = {"manifests": [blob(json.dumps(manifest).encode()) | {"platform": {"architecture": "amd64"}}]}
    outer = blob(json.dumps(inner).encode()) | {"annotations": {"org.opencontainers.image.ref.name": "app:oci"}}
    return tar_of({"index.json": json.dumps({"manifests": [outer]}).encode(), **blobs})


@pytest.mark.parametrize(("content", "name"), [(docker_archive(["app:v1"]), "app:v1"), (oci_archive(), "app:oci")])
def test_both_kinds_of_archive(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    store = ImageStore(tmp_path / "images")
    load(store, tmp_path / "a.tar")
    image = store.resolve(name)
    assert isinstance(image, Image)
    assert image.rootfs is not None
    assert (image.rootfs / "bin/app").read_bytes() == b"one"
    assert not (image.rootfs / "gone").exists()
    assert (image.config.cmd, image.config.user) == (("/bin/app",), "7")
    assert image.id == "sha256:" + hashlib.sha256(CONFIG).hexdigest()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nothing", "not an image archive"),
        (tar_of({"readme": b"x"}), "not an image archive"),
        (docker_archive([]), "names no image: say its name with --name"),
        (docker_archive(["UP"]), "not a name that an image can have"),
    ],
)
def test_an_archive_that_cannot_be_used_changes_nothing(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    store = ImageStore(tmp_path / "images")
    with pytest.raises(Failure, match=words):
        load(store, tmp_path / "a.tar")
    assert not store.records()


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file"):
        load(ImageStore(tmp_path), tmp_path / "none.tar")
