"""`clusterip image`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clusterip.failure import Failure
from clusterip.main import main
from clusterip.node.images import ImageStore, Record


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    monkeypatch.setenv("CLUSTERIP_CACHE", str(tmp_path))
    return ImageStore(tmp_path / "images")


def test_list(store: ImageStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.put(
        Record("docker.io/library/nginx", "catalog", "nginx-1", "sha256:abcdef0123456789", "1.22.1", "k", 2_500_000)
    )
    assert main(["image", "list"]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NAME", "SOURCE", "VERSION", "ID", "SIZE"]
    assert line.split() == ["nginx", "catalog", "1.22.1", "abcdef012345", "2.5MB"]
    assert main(["image", "list", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["path"] == str(store.folder / "nginx-1")


def test_an_empty_store_says_what_to_do(store: ImageStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "list"]) == 0
    assert capsys.readouterr().err == "no images here; build the catalog with: clusterip image build\n"


def test_a_name_outside_the_catalog(store: ImageStore) -> None:
    with pytest.raises(
        Failure, match=r'no image "redis" in the catalog: it has nginx, busybox, curlimages/curl, alpine'
    ):
        main(["image", "build", "redis"])
