"""A Kubernetes API server for tests of other projects: ready in half a second, gone when the test is.

    from clusterip.testing import ApiServer

    with ApiServer() as api:                  # or: async with ApiServer() as api
        api.url, api.token                    # https://127.0.0.1:PORT, the administrator's bearer token
        api.ca, api.kubeconfig                # files
        api.environment()                     # for subprocesses: KUBECONFIG beside what is there
        httpx.Client(**api.client_arguments())  # base_url, headers, verify
        api.request("GET", "/api/v1/namespaces")  # a tree, without any library

Stage: shell; a child process.  Rules: it ends with the block, and with this process, however that ends; it writes
nothing to standard output, and to standard error only what goes wrong; several run side by side.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from clusterip.failure import Failure

START_SECONDS, STOP_SECONDS = 120.0, 10.0  # a start takes a second, on a busy machine many
PATCH = "application/merge-patch+json"


class RequestFailed(Exception):
    """The server refused a request: `status` is its Status."""

    def __init__(self, code: int, status: Any) -> None:
        text = status.get("message") if isinstance(status, dict) else str(status)
        super().__init__(f"{code}: {text}")
        self.code, self.status = code, status


class ApiServer:
    """An API server without nodes or controllers. `state` keeps what it holds; else nothing is left of it."""

    def __init__(
        self, *, store: str = "memory", state: Path | str | None = None, arguments: Sequence[str] = ()
    ) -> None:
        """`store` is memory, sqlite or etcd=URL; `arguments` are further ones of `clusterip apiserver`."""
        self._arguments = ["--store", store, *(["--state", str(state)] if state is not None else []), *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._told: Mapping[str, str] = {}

    @property
    def url(self) -> str:
        return self._said("url")

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return self._said("token")

    @property
    def ca(self) -> Path:
        """The file of the authority that signed the server's certificate."""
        return Path(self._said("ca"))

    @property
    def kubeconfig(self) -> Path:
        return Path(self._said("kubeconfig"))

    @property
    def pid(self) -> int:
        if self._process is None:
            raise Failure("the API server was not started")
        return self._process.pid

    def _said(self, name: str) -> str:
        if not self._told:
            raise Failure("the API server was not started: use `with ApiServer() as api`")
        return self._told[name]

    def start(self) -> Self:
        """Start and wait until it serves; a Failure says why it does not."""
        command = [sys.executable, "-m", "clusterip.main", "apiserver", "-o", "json", "-v", "0"]
        command += ["--exit-with-parent", str(os.getpid()), *self._arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        late = threading.Timer(START_SECONDS, self._process.kill)
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            self.stop()
            raise Failure("the API server did not start; what it said is on standard error")
        self._told = json.loads(line)
        return self

    def stop(self) -> None:
        """End it; what it kept in memory is gone."""
        process, self._process, self._told = self._process, None, {}
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self.stop)

    def environment(self) -> dict[str, str]:
        """This process's environment, in which kubectl, helm and client libraries find this server."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def client_arguments(self) -> dict[str, Any]:
        """An administrator's way in, as httpx.Client takes it."""
        context = ssl.create_default_context(cafile=str(self.ca))
        return {"base_url": self.url, "headers": {"Authorization": f"Bearer {self.token}"}, "verify": context}

    def request(self, method: str, path: str, body: Any = None, *, media: str = "") -> Any:
        """The tree of an answer; RequestFailed when it is a refusal. A patch is a merge patch unless `media` says."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = media or (PATCH if method == "PATCH" else "application/json")
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, context=ssl.create_default_context(cafile=str(self.ca))) as answer:
                return _tree(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise RequestFailed(error.code, _tree(error.read())) from None


def _tree(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")
