"""Stores by their names, and what is said of names and options that are none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clusterip.failure import Failure
from clusterip.store.contract import Write
from clusterip.store.opening import EtcdOptions, check, endpoints, opened


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mysql", "use sqlite, memory or etcd=URL"),
        ("etcd=", "write one or more of http://HOST:PORT"),
        ("etcd=127.0.0.1:2379", "is no server"),
        ("etcd=http://a:1,https://b:2", "all servers are reached by http"),
        ("etcd=http://a:99999", "is no server"),
        ("etcd=http://a:1/path", "is no server"),
    ],
)
def test_a_wrong_name_says_what_would_do(name: str, why: str) -> None:
    with pytest.raises(Failure, match=why):
        check(name)


def test_options_for_etcd() -> None:
    found = endpoints("etcd=http://127.0.0.1:2379/, http://127.0.0.1:3379", EtcdOptions())
    assert found.urls == ("http://127.0.0.1:2379", "http://127.0.0.1:3379")
    with pytest.raises(Failure, match="give both"):
        endpoints("etcd=https://a:1", EtcdOptions(certificate=Path("c")))
    with pytest.raises(Failure, match="write it as /clusterip"):
        endpoints("etcd=https://a:1", EtcdOptions(prefix="clusterip/"))


@pytest.mark.parametrize("name", ["sqlite", "memory"])
def test_a_store_is_open_in_the_block(name: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(name, tmp_path, EtcdOptions()) as store:
            assert await store.commit([Write("/a", b"1", 0)]) == 1
            assert not store.shared
            await store.catch_up()

    asyncio.run(body())
