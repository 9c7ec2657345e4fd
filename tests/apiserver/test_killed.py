"""An acknowledged write survives kill -9 of the server, and the next server goes on where it ended."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp

from apiserver.wire import CONFIGMAPS, config_map

ROUNDS = 3


def start(state: Path, *words: str) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """A server process, ready."""
    command = [sys.executable, "-m", "clusterip.main", "apiserver", "-o", "json", "--state", str(state), *words]
    source = Path(__file__).parents[2] / "src"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(source)})
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def session(where: dict[str, str]) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=where["ca"])
    headers = {"Authorization": f"Bearer {where['token']}"}
    return aiohttp.ClientSession(where["url"], connector=aiohttp.TCPConnector(ssl=context), headers=headers)


async def write_until_killed(where: dict[str, str], process: subprocess.Popen[bytes], number: int, acked: dict) -> None:
    """Several writers; the server dies at a random moment; what was answered is noted."""
    chance = random.Random(number)
    asyncio.get_running_loop().call_later(chance.uniform(0.1, 0.4), process.send_signal, signal.SIGKILL)

    async def writer(name: str, http: aiohttp.ClientSession) -> None:
        for n in range(100_000):
            key = f"{name}-{n}"
            async with http.post(CONFIGMAPS, json=config_map(key, n=str(n))) as answer:
                tree = await answer.json()
                assert answer.status == 201, tree
                acked[key] = tree["metadata"]["resourceVersion"]

    async with session(where) as http:
        results = await asyncio.gather(*(writer(f"r{number}w{n}", http) for n in range(6)), return_exceptions=True)
    assert all(isinstance(result, aiohttp.ClientError) for result in results), results


async def listed(where: dict[str, str]) -> dict[str, Any]:
    async with session(where) as http, http.get(CONFIGMAPS) as answer:
        tree = await answer.json()
        return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in tree["items"]}


def test_acknowledged_writes_survive_kill_nine(tmp_path: Path) -> None:
    acked: dict[str, str] = {}
    for number in range(ROUNDS):
        process, where = start(tmp_path)
        try:
            there = asyncio.run(listed(where))
            assert acked.items() <= there.items()
            asyncio.run(write_until_killed(where, process, number, acked))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    process, where = start(tmp_path)
    try:
        there = asyncio.run(listed(where))
        assert acked.items() <= there.items()
        assert len(acked) > 10
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    process, where = start(tmp_path / "first")
    try:
        address = where["url"].removeprefix("https://")
        command = [
            sys.executable,
            "-m",
            "clusterip.main",
            "apiserver",
            "--listen",
            address,
            "--state",
            str(tmp_path / "b"),
        ]
        source = Path(__file__).parents[2] / "src"
        second = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, timeout=20, check=False
        )
        assert second.returncode == 1
        lines = second.stderr.decode().splitlines()
        assert len(lines) == 1
        assert f"cannot listen on {address}: Address already in use" in lines[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
