"""What pods use of their node's disk is measured, and one that uses too much is told why it goes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from clusterip.node.record import PodFolder
from clusterip.node.storage import Used, excess, is_limited, measure, size, watch
from node.pods import pod

LIMITED = {"name": "c", "resources": {"limits": {"ephemeral-storage": "5Mi"}}}
MIB = 1 << 20


def scratch(**source: str) -> list[dict[str, object]]:
    return [{"name": "scratch", "emptyDir": source}]


def test_pods_without_limits_are_left_alone() -> None:
    assert not is_limited(pod())
    assert not is_limited(pod(volumes=scratch()))
    assert not is_limited(pod(volumes=scratch(sizeLimit="1Mi", medium="Memory")))
    assert not is_limited(pod(LIMITED, priority=2_000_001_000))
    assert is_limited(pod(LIMITED))
    assert is_limited(pod(volumes=scratch(sizeLimit="1Mi")))


@pytest.mark.parametrize(
    ("one", "used", "why"),
    [
        (pod(LIMITED), Used(containers={"c": 5 * MIB}), ""),
        (
            pod(LIMITED),
            Used(containers={"c": 5 * MIB + 1}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ",
        ),
        (
            pod(LIMITED, volumes=scratch()),
            Used(volumes={"scratch": 3 * MIB}, containers={"c": 3 * MIB}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ",
        ),
        (
            pod(LIMITED, {**LIMITED, "name": "d"}),
            Used(containers={"c": 1, "d": 6 * MIB}),
            'Container d exceeded its local ephemeral storage limit "5Mi". ',
        ),
        (
            pod(volumes=scratch(sizeLimit="1024Ki")),
            Used(volumes={"scratch": 2 * MIB}),
            'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". ',
        ),
    ],
)
def test_why_a_pod_goes(one, used, why) -> None:
    assert excess(one, used) == why


def test_a_folder_is_as_large_as_what_the_disk_holds(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 8192)
    os.link(tmp_path / "a" / "file", tmp_path / "second name")
    (tmp_path / "link").symlink_to("/")
    with (tmp_path / "hole").open("wb") as hole:
        hole.truncate(64 * MIB)
    assert 8192 <= size(tmp_path) < MIB
    assert size(tmp_path / "none") == 0


def test_layers_logs_and_volumes_are_measured(tmp_path: Path) -> None:
    folder, one = PodFolder(tmp_path, "u-1", tmp_path / "logs"), pod(LIMITED, volumes=scratch())
    for place in (
        folder.attempt("c", 1) / "upper" / "tmp",
        folder.volume("scratch"),
        folder.logs("ns", "p", "u-1") / "c",
        folder.volume("other"),
    ):
        place.mkdir(parents=True)
        (place / "file").write_bytes(b"x" * 65536)
    used = measure(one, folder)
    assert set(used.volumes) == {"scratch"}
    assert 65536 <= used.volumes["scratch"] < used.containers["c"]
    assert used.containers["c"] >= 131072


def test_somebody_keeps_looking(tmp_path: Path) -> None:
    folder, one, told = PodFolder(tmp_path, "u-1", tmp_path / "logs"), pod(LIMITED), asyncio.Event()

    async def go() -> None:
        looking = asyncio.create_task(watch(lambda: one, folder, lambda why: told.set(), 0.01))
        await asyncio.sleep(0)
        layer = folder.attempt("c", 0) / "upper"
        layer.mkdir(parents=True)
        (layer / "file").write_bytes(b"x" * 6 * MIB)
        async with asyncio.timeout(30):
            await told.wait()
        looking.cancel()

    asyncio.run(go())
