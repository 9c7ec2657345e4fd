"""The servers that are measured: ours, and kube-apiserver with etcd where there is one; what they would be without us.

Rules: each in a folder of its own on the same disk, on loopback, ended by its own process alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clusterip.transport.certificates import new_authority, new_signing_key

CLUSTERIP = (sys.executable, "-m", "clusterip.main")
TOKEN = "bench-token"
PATIENCE = 60.0


@dataclass(frozen=True)
class Peer:
    """A running API server."""

    name: str
    url: str
    token: str
    pids: tuple[int, ...]

    @property
    def host(self) -> str:
        return self.url.removeprefix("https://").rpartition(":")[0]

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def worked(self) -> float:
        """Seconds that its processes have worked."""
        return sum(_ticks(pid) for pid in self.pids) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """MB that all its processes hold."""
        return sum(_resident(pid) for pid in self.pids) / 1024


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="clusterip-bench-") as name:
        yield Path(name)


@contextlib.contextmanager
def ours(state: Path) -> Iterator[tuple[Peer, float]]:
    """Our server over a state folder, and the seconds until it was ready."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*CLUSTERIP, "apiserver", "--state", str(state), "-o", "json"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        took = time.perf_counter() - began
        said = json.loads(line)
        yield Peer("clusterip", said["url"], said["token"], (process.pid,)), took
    finally:
        _end(process)


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def kube_apiserver() -> str:
    """Where there is one: what KUBE_APISERVER names, else on PATH; "" for nowhere."""
    return shutil.which(os.environ.get("KUBE_APISERVER") or "kube-apiserver") or ""


def missing() -> str:
    """What keeps the real one from being measured; "" when nothing does."""
    lacking = [
        name for name, found in (("kube-apiserver", kube_apiserver()), ("etcd", shutil.which("etcd"))) if not found
    ]
    return f"{' and '.join(lacking)} not found" if lacking else ""


@contextlib.contextmanager
def theirs(state: Path) -> Iterator[Peer]:
    """kube-apiserver over an etcd, with its usual admission but for ServiceAccounts, which nobody makes here."""
    client, peer, secure = (_free_port() for _ in range(3))
    with (state / "log").open("w") as log, contextlib.ExitStack() as stack:
        etcd = [
            "etcd", "--data-dir", str(state / "etcd"), "--listen-client-urls", f"http://127.0.0.1:{client}",
            "--advertise-client-urls", f"http://127.0.0.1:{client}", "--listen-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--quota-backend-bytes", str(8 << 30),
        ]  # fmt: skip
        keeper = subprocess.Popen(etcd, stdout=log, stderr=log)
        stack.callback(_end, keeper)
        server = subprocess.Popen(_command(state, client, secure), stdout=log, stderr=log)
        stack.callback(_end, server)
        found = Peer("kube-apiserver + etcd", f"https://127.0.0.1:{secure}", TOKEN, (server.pid, keeper.pid))
        _await_ready(found, server)
        yield found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _command(state: Path, etcd: int, port: int) -> list[str]:
    (state / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
    key = new_signing_key()
    (state / "sa.key").write_bytes(key.key)
    (state / "sa.pub").write_bytes(key.certificate)
    given = {
        "etcd-servers": f"http://127.0.0.1:{etcd}",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": state / "sa.pub",
        "service-account-signing-key-file": state / "sa.key",
        "cert-dir": state / "certificates",
        "token-auth-file": state / "tokens.csv",
        "authorization-mode": "RBAC",
        "service-cluster-ip-range": "10.96.0.0/12",
        "secure-port": port,
        "bind-address": "127.0.0.1",
        "disable-admission-plugins": "ServiceAccount",
    }
    return [kube_apiserver(), *(f"--{name}={value}" for name, value in given.items())]


def _await_ready(peer: Peer, process: subprocess.Popen[bytes]) -> None:
    import ssl
    import urllib.request

    context = ssl._create_unverified_context()
    request = urllib.request.Request(f"{peer.url}/readyz", headers={"Authorization": f"Bearer {peer.token}"})
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, context=context, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError("kube-apiserver is not ready")


# --- references ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def bare(state: Path, what: str, size: int) -> Iterator[Peer]:
    """Nothing but TLS: the same loop answers every request with the same bytes (echo), or tells all of it (fan)."""
    authority = new_authority()
    serving = authority.server("bare", ["127.0.0.1"])
    (state / "bare.pem").write_bytes(serving.certificate + b"\n" + serving.key)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.apichild", what, str(state / "bare.pem"), str(size)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        yield Peer(f"TLS {what}", f"https://127.0.0.1:{port}", TOKEN, (process.pid,))
    finally:
        _end(process)


def bare_store(path: Path, size: int, at_once: int, *, fresh: bool, count: int) -> float:
    """Durable writes a second of the store alone, by that many writers that each wait for their own."""
    words = ["store", str(path), str(size), str(at_once), str(int(fresh)), str(count)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.apichild", *words],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    return float(done.stdout)
