"""The API server that other projects' tests start: what it tells, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from clusterip.failure import Failure
from clusterip.testing import ApiServer, RequestFailed

ROOT = Path(__file__).parents[1]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_serves_for_the_length_of_a_block(capfd: pytest.CaptureFixture[str]) -> None:
    with ApiServer() as api:
        pid = api.pid
        assert api.request("GET", "/readyz") == "ok"
        made = api.request("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
        assert made["kind"] == "ConfigMap"
        arguments = api.client_arguments()
        asked = urllib.request.Request(arguments["base_url"] + "/api/v1/namespaces", headers=arguments["headers"])
        assert isinstance(arguments["verify"], ssl.SSLContext)
        with urllib.request.urlopen(asked, context=arguments["verify"]) as answer:
            assert answer.status == 200
        assert api.environment()["KUBECONFIG"] == str(api.kubeconfig)
        assert api.url in api.kubeconfig.read_text()
        folder = api.ca.parent
        with pytest.raises(RequestFailed, match="not found"):
            api.request("DELETE", "/api/v1/namespaces/default/configmaps/none")
    assert not is_there(pid)
    assert not folder.exists()
    assert capfd.readouterr() == ("", "")
    with pytest.raises(Failure, match="not started"):
        _ = api.url


def test_it_serves_for_the_length_of_an_asynchronous_block() -> None:
    async def body() -> None:
        async with ApiServer(store="sqlite") as api:
            assert await asyncio.to_thread(api.request, "GET", "/livez") == "ok"

    asyncio.run(body())


def test_what_it_keeps_is_there_again(tmp_path: Path) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    with ApiServer(store="sqlite", state=tmp_path) as api:
        api.request("POST", path, {"metadata": {"name": "a"}})
    with ApiServer(store="sqlite", state=tmp_path) as api:
        assert api.request("GET", f"{path}/a")["metadata"]["name"] == "a"


def test_why_it_does_not_start_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Failure, match="did not start"), ApiServer(arguments=["--listen", "nonsense"]):
        pass
    assert "nonsense" in capfd.readouterr().err


def test_it_ends_with_the_process_that_started_it() -> None:
    script = "import os, signal; from clusterip.testing import ApiServer; api = ApiServer().start()\n"
    script += "print(api.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, check=False)
    assert ended.returncode == -signal.SIGKILL
    held = None
    try:
        held = os.pidfd_open(int(ended.stdout))
    except ProcessLookupError:
        return  # gone already
    import select

    try:
        assert select.select([held], [], [], 20)[0], "it outlived its parent"
    finally:
        os.close(held)


def test_the_example_in_the_documents_works() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "docs/examples"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
