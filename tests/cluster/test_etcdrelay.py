"""The way to an etcd outside of the cluster, and a whole cluster on one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clusterip.cluster import etcdrelay
from clusterip.cluster.config import Config
from clusterip.cluster.folder import Folder
from clusterip.store.contract import Write
from clusterip.store.opening import EtcdOptions, opened
from store.etcdserver import etcd


def test_what_the_api_server_is_told(tmp_path: Path) -> None:
    folder = Folder("c", tmp_path)
    assert etcdrelay.arguments(folder, Config()) == ()
    host = Config(name="c", store="etcd=https://127.0.0.1:2379,https://127.0.0.1:3379", etcd_cafile="/ca")
    assert etcdrelay.places(host) == [("127.0.0.1", 2379), ("127.0.0.1", 3379)]
    relay = f"--etcd-relay={tmp_path}/run/etcd.sock"
    assert etcdrelay.arguments(folder, host) == ("--etcd-prefix=/clusterip/c", "--etcd-cafile=/ca", relay)
    near = Config(name="c", store="etcd=http://192.168.4.200:2379", etcd_prefix="/mine")
    assert etcdrelay.places(near) == []
    assert etcdrelay.arguments(folder, near) == ("--etcd-prefix=/mine",)


def test_the_relay_leads_to_the_first_server_that_answers(tmp_path: Path) -> None:
    async def body(port: int, url: str) -> None:
        path = tmp_path / ("a-folder-of-a-long-name" * 6) / "etcd.sock"
        path.parent.mkdir()
        task = asyncio.ensure_future(etcdrelay.run(path, [("127.0.0.1", 1), ("127.0.0.1", port)]))
        async with opened(f"etcd={url}", tmp_path, EtcdOptions(prefix="/relayed", relay=path)) as store:
            assert await store.commit([Write("/a", b"x" * 1_000_000, 0)]) == 1
        async with opened(f"etcd={url}", tmp_path, EtcdOptions(prefix="/relayed")) as store:
            assert len(store.range("/")) == 1
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with etcd() as server:
        asyncio.run(asyncio.wait_for(body(server.port, server.url), 240))


@pytest.mark.root
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_cluster_on_an_etcd_of_the_host(tmp_path: Path) -> None:
    name = f"on-etcd-{os.getpid()}"
    environment = {**os.environ, "CLUSTERIP_HOME": str(tmp_path / "home")}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "clusterip.main", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=330, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    async def keys(url: str) -> int:
        async with opened(f"etcd={url}", tmp_path, EtcdOptions(prefix=f"/clusterip/{name}")) as store:
            return len(store.range("/registry/"))

    with etcd() as server:
        try:
            run("up", "--name", name, "--nodes", "1", "--store", f"etcd={server.url}")
            assert asyncio.run(keys(server.url)) > 50
            server.stop()
            server.start()
            run(
                "shell",
                "--name",
                name,
                "node-1",
                "--",
                "kubectl",
                "create",
                "configmap",
                "after",
                "--from-literal=a=b",
            )
            assert run("shell", "--name", name, "node-1", "--", "kubectl", "get", "configmap", "after", "-o", "name")
        finally:
            run("down", "--name", name)
        assert asyncio.run(keys(server.url)) == 0
