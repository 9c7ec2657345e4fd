"""A whole server on small disks: full as it runs, full as it starts, read-only; and well again without a restart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import asyncio, json, os, sys
from pathlib import Path
from apiserver.test_killed import session, start
from apiserver.wire import CONFIGMAPS, config_map

disk, kind = Path(sys.argv[1]), sys.argv[2]

async def post(http, name, size=10):
    async with http.post(CONFIGMAPS, json=config_map(name, n="x" * size)) as answer:
        return answer.status, await answer.json()

async def names(http):
    async with http.get(CONFIGMAPS) as answer:
        assert answer.status == 200
        return {item["metadata"]["name"] for item in (await answer.json())["items"]}

async def fill(where):
    kept = set()
    async with session(where) as http:
        for n in range(2000):
            status, tree = await post(http, f"m{n}", 50000)
            if status != 201:
                assert (status, tree["reason"]) == (507, "InsufficientStorage"), tree
                assert "free some space" in tree["message"]
                break
            kept.add(f"m{n}")
        else:
            raise AssertionError("never full")
        assert await names(http) == kept
    return kept

async def refuses(where, kept, code):
    async with session(where) as http:
        assert await names(http) == kept
        status, tree = await post(http, "no", 50000)
        assert status == code, tree
        async with http.get("/readyz?verbose") as answer:
            return answer.status, await answer.text()

async def takes(where, kept):
    async with session(where) as http:
        status, tree = await post(http, "after")
        assert status == 201, tree
        assert await names(http) == kept | {"after"}
        async with http.get("/readyz") as answer:
            assert answer.status == 200, await answer.text()

def ballast():
    fd = os.open(disk / "ballast", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(fd, b"x" * 512):
            pass
    except OSError:
        pass
    os.close(fd)

def end(process, rough):
    process.kill() if rough else process.terminate()
    process.wait(30)
    process.stdout.close()

process, where = start(disk / "state")
if kind == "full":
    kept = asyncio.run(fill(where))
else:
    async def two(where):
        async with session(where) as http:
            await post(http, "a"); await post(http, "b")
        return {"a", "b"}
    kept = asyncio.run(two(where))
for rough in (True, False):
    end(process, rough)
    ballast() if kind == "full" else os.system(f"mount -o remount,ro {disk}")
    process, where = start(disk / "state")
    status, text = asyncio.run(refuses(where, kept, 507 if kind == "full" else 500))
    assert kind == "full" or (status == 500 and "[-]etcd failed" in text), text
    if kind == "full":
        (disk / "ballast").unlink()
        os.system(f"mount -o remount,size=64m {disk}")
    else:
        os.system(f"mount -o remount,rw {disk}")
    asyncio.run(takes(where, kept))
    kept.add("after")
    if rough:
        async def undo(where):
            async with session(where) as http:
                async with http.delete(f"{CONFIGMAPS}/after") as answer:
                    assert answer.status == 200
        asyncio.run(undo(where))
        kept.discard("after")
        if kind == "full":
            os.system(f"mount -o remount,size=8m {disk}")
end(process, False)
print("well")
"""


@pytest.mark.root
@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_server_on_a_disk_that_refuses(tmp_path: Path, kind: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    inner = 'mount -t tmpfs -o size=8m tmpfs "$1" && exec "$2" "$3" "$1" "$4"'
    words = [str(disk), sys.executable, str(tmp_path / "script.py"), kind]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}/tests"}
    command = ["unshare", "--mount", "sh", "-c", inner, "sh", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "well\n"
