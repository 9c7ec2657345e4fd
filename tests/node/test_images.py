"""The image store: what a reference means, and what is said when it cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clusterip.node.images import (
    Image,
    ImageMissing,
    ImageStore,
    Record,
    default_folder,
    image_folder,
)
from clusterip.node.volumes import VolumeError


def put(store: ImageStore, name: str, source: str = "catalog", version: str = "1.22.1") -> Record:
    record = Record(name, source, name.replace("/", "-").replace(":", "-"), "sha256:00", version, "k", 1)
    folder = store.path_of(record)
    (folder / "rootfs").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"config": {"Cmd": [name]}}))
    store.put(record)
    return record


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path)


def test_the_catalog_serves_any_tag_and_says_so(store: ImageStore) -> None:
    put(store, "docker.io/library/nginx")
    image = store.resolve("nginx:1.20")
    assert isinstance(image, Image)
    assert (image.name, image.source) == ("docker.io/library/nginx:1.20", "catalog")
    assert image.substituted == "nginx:1.20 is served by catalog nginx 1.22.1"
    assert image.rootfs is not None
    assert image.rootfs.is_dir()


def test_a_loaded_image_comes_before_the_catalog(store: ImageStore) -> None:
    put(store, "docker.io/library/nginx")
    put(store, "docker.io/library/nginx:1.20", "local", "")
    image = store.resolve("docker.io/nginx:1.20")
    assert isinstance(image, Image)
    assert (image.source, image.substituted, image.config.cmd) == ("local", None, ("docker.io/library/nginx:1.20",))


def test_an_index_that_another_process_writes_is_seen(store: ImageStore, tmp_path: Path) -> None:
    assert isinstance(store.resolve("busybox"), ImageMissing)
    put(ImageStore(tmp_path), "docker.io/library/busybox")
    assert isinstance(store.resolve("busybox"), Image)


def test_a_system_part_has_no_files(store: ImageStore) -> None:
    image = store.resolve("clusterip:0.1.0")
    assert isinstance(image, Image)
    assert (image.rootfs, image.source) == (None, "system")


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        (
            "redis:7",
            "ErrImagePull",
            "not in the local store or the catalog (nginx, busybox, ",
        ),
        ("nginx", "ErrImagePull", "catalog image nginx is not built; run: clusterip image build"),
        ("nginx@sha256:" + "0" * 64, "ErrImagePull", "a digest names exactly one image"),
        ("quay.io/nginx", "ErrImagePull", "not in the local store"),
        (
            "Nginx",
            "InvalidImageName",
            'couldn\'t parse image name "Nginx": invalid reference format: repository name (Nginx)',
        ),
    ],
)
def test_what_cannot_be_had(store: ImageStore, text: str, reason: str, words: str) -> None:
    missing = store.resolve(text)
    assert isinstance(missing, ImageMissing)
    assert missing.reason == reason
    assert words in missing.message


def test_the_store_is_in_the_cache() -> None:
    assert default_folder({"CLUSTERIP_CACHE": "/c"}) == Path("/c/images")
    assert default_folder({"HOME": "/h"}) == Path("/h/.cache/clusterip/images")


@pytest.mark.parametrize(
    ("text", "entrypoint"),
    [
        ("quay.io/metallb/controller:v0.15.2", ("/controller",)),
        ("quay.io/metallb/speaker:main", ("/speaker",)),
        ("clusterip", ()),
    ],
)
def test_parts_of_ours_are_found_under_any_tag(tmp_path: Path, text: str, entrypoint: tuple[str, ...]) -> None:
    found = ImageStore(tmp_path).resolve(text)
    assert isinstance(found, Image)
    assert found.rootfs is None
    assert found.config.entrypoint == entrypoint


def test_a_volume_shows_an_images_files(store: ImageStore) -> None:
    record = put(store, "docker.io/library/nginx:1.20", "local", "")
    assert image_folder(store, {"reference": "nginx:1.20"}) == store.path_of(record) / "rootfs"
    for reference, why in {"other": "not in the local store", "clusterip:1": "has no files", "": "parse"}.items():
        with pytest.raises(VolumeError, match=why):
            image_folder(store, {"reference": reference})
