"""Load on an API server: wrk with the requests of api.lua, watchers.c, and the plain calls of a client.

Rules: wrk is one thread, so that the other core is the server's; every load says how many of its requests failed.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.apipeers import Peer

HERE = Path(__file__).parent
LONGEST = 600  # seconds of a load that ends by itself
OF_THE_SERVER, OF_ONE_SETTING = 3000, 270  # bytes: defaults and managedFields; a variable of both containers


@dataclass(frozen=True)
class Load:
    """What a load showed; times in ms."""

    requests: int
    seconds: float
    p50: float
    p99: float
    faults: int
    worked: float = 0.0
    """Seconds that the server's processes worked."""

    @property
    def rate(self) -> float:
        return (self.requests - self.faults) / self.seconds

    def __str__(self) -> str:
        failed = f", {self.faults} FAILED" if self.faults else ""
        each = self.worked / self.requests * 1e6
        return f"{self.rate:.0f}/s (p50 {self.p50:.2g} ms, p99 {self.p99:.2g} ms, {each:.0f} us of work each{failed})"


def wrk(peer: Peer, what: str, connections: int, total: int, *words: str, seconds: float = LONGEST) -> Load:
    """One load of api.lua; `total` objects there are, or are made."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "20s",
        "-s",
        str(HERE / "api.lua"),
    ]
    script = ["--", peer.token, what, str(total), *words]
    before = peer.worked()
    done = subprocess.run([*command, peer.url, *script], capture_output=True, text=True, timeout=LONGEST + 30)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"wrk {what} on {peer.name}: {done.stdout}{done.stderr}")
    return Load(**json.loads(lines[-1]), worked=peer.worked() - before)


def watchers(peer: Peer, program: Path, count: int, rate: float, seconds: float) -> dict[str, float]:
    """What watchers.c says."""
    words = [peer.host, peer.port, peer.token, str(count), str(rate), str(seconds)]
    done = subprocess.run([str(program), *words], capture_output=True, text=True, timeout=seconds + 120)
    if done.returncode:
        raise RuntimeError(f"watchers on {peer.name}: {done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compiled(folder: Path) -> Path:
    program = folder / "watchers"
    source = HERE / "watchers.c"
    subprocess.run(["cc", "-O2", "-o", str(program), str(source), "-lssl", "-lcrypto"], check=True)
    return program


class Caller:
    """One connection that asks and waits."""

    def __init__(self, peer: Peer) -> None:
        context = ssl._create_unverified_context()
        self._connection = http.client.HTTPSConnection(peer.host, int(peer.port), context=context, timeout=120)
        self._headers = {"Authorization": f"Bearer {peer.token}"}

    def get(self, path: str) -> tuple[float, int]:
        """Seconds until the whole answer was there, and its bytes."""
        began = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        size, room = 0, bytearray(1 << 20)
        while got := answer.readinto(room):
            size += got
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status}")
        return time.perf_counter() - began, size

    def create(self, path: str, tree: dict[str, object]) -> None:
        self._connection.request("POST", path, json.dumps(tree), {**self._headers, "Content-Type": "application/json"})
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status not in (201, 409):
            raise RuntimeError(f"POST {path}: {answer.status} {said!r}")


def pod_template(size: int) -> str:
    """A pod of about so many bytes once it is stored; NUMBER stands for its own."""
    container = {
        "name": "main",
        "image": "registry.example/team/application:1.2.3",
        "command": ["/bin/application", "--config=/etc/application/config.yaml"],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
        "env": [],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "pod-NUMBER",
            "labels": {"app": "application", "number": "NUMBER", "pod-template-hash": "6d4b75cb6d"},
            "annotations": {"example.com/checksum": "0123456789abcdef" * 4},
        },
        "spec": {"containers": [container, {**container, "name": "side", "ports": []}]},
    }
    settings = range((size - len(json.dumps(pod)) - OF_THE_SERVER) // OF_ONE_SETTING)
    container["env"] += [{"name": f"SETTING_{n}", "value": f"value {n} of the setting"} for n in settings]  # type: ignore[attr-defined]
    return json.dumps(pod)
