"""DNS figures: questions a second on one core beside CoreDNS, and how soon an answer follows its endpoints.

The load is dnsperf's, on the other core, over names of 10,000 Services that the server follows at an API of ours.
Questions are counted by second of the server's own processor time, so that a busy machine does not lie.  CoreDNS
follows the same API, when it is on PATH.  QUICK=1 makes everything small.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.apiload import Caller
from bench.apipeers import Peer, folder, ours
from bench.figure import Figure, percentile
from clusterip.dns import message

QUICK = os.environ.get("QUICK", "") not in ("", "0")
SERVICES = 300 if QUICK else 10_000
SECONDS = 2 if QUICK else 6
CHANGES = 20 if QUICK else 200
DNSPERF = ("dnsperf", "-s", "127.0.0.1", "-c", "8", "-T", "1", "-q", "400")
COREFILE = """\
.:{port} {{
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        {api}
        pods insecure
        ttl 30
    }}
}}
"""
PATIENCE = 60.0
CORES = (0, 1)  # the server's and the load's


@dataclass(frozen=True)
class Shown:
    """What a server showed."""

    rate: float
    lost: int
    memory: float


async def dns() -> list[Figure]:
    """Every figure."""
    if shutil.which("dnsperf") is None:
        print("    not measured: dnsperf is not on PATH (apt-get install dnsperf)")
        return []
    with folder() as place, ours(place / "state") as (peer, _):
        caller = Caller(peer)
        fill(caller)
        names = place / "names"
        names.write_text("".join(f"s{number}.default.svc.cluster.local A\n" for number in range(SERVICES)))
        kubeconfig = place / "state" / "kubeconfig"
        with served(own(place, kubeconfig), place / "log", peer) as (port, pid):
            shown = measured(port, pid, names)
            waits = [changed(caller, port, number) for number in range(CHANGES)]
        theirs = "CoreDNS is not on PATH"
        if program := shutil.which("coredns"):
            with served(real(place, kubeconfig, program), place / "log", peer) as (port, pid):
                found = measured(port, pid, names)
                theirs = f"CoreDNS {found.rate:.0f}/s, {found.memory:.0f} MB"
    return [
        Figure(f"DNS at {SERVICES} Services, one core ({shown.lost} lost)", shown.rate, "q/s", 100_000, theirs, True),
        Figure("endpoint written to answer changed, p50", percentile(waits, 0.5) * 1000, "ms", None),
        Figure("endpoint written to answer changed, p99", percentile(waits, 0.99) * 1000, "ms", 20),
        Figure("memory of the DNS server", shown.memory, "MB", 80, theirs),
    ]


def fill(caller: Caller) -> None:
    """Services, and one headless one whose endpoint changes."""
    for number in range(SERVICES):
        spec: dict[str, object] = {"ports": [{"name": "http", "port": 80}]}
        caller.create("/api/v1/namespaces/default/services", {"metadata": {"name": f"s{number}"}, "spec": spec})
    headless = {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}
    caller.create("/api/v1/namespaces/default/services", {"metadata": {"name": "moving"}, "spec": headless})


def own(place: Path, kubeconfig: Path) -> tuple[list[str], int]:
    """Our server's command and port."""
    port = free_port()
    corefile = place / "Corefile"
    corefile.write_text(COREFILE.format(port=port, api=f"kubeconfig {kubeconfig}"))
    return [sys.executable, "-m", "clusterip.main", "dns", "-conf", str(corefile), f"--listen=127.0.0.1:{port}"], port


def real(place: Path, kubeconfig: Path, program: str) -> tuple[list[str], int]:
    port = free_port()
    corefile = place / "Corefile.theirs"
    corefile.write_text(COREFILE.format(port=port, api=f"kubeconfig {kubeconfig}"))
    return [program, "-conf", str(corefile)], port


@contextlib.contextmanager
def served(command: tuple[Sequence[str], int], log: Path, _api: Peer) -> Iterator[tuple[int, int]]:
    """A server on one core that answers for the last Service; its port and process."""
    words, port = command
    with log.open("w") as out:
        process = subprocess.Popen(["taskset", "-c", str(CORES[0]), *words], stdout=out, stderr=out)
    try:
        until_answered(port, f"s{SERVICES - 1}", lambda reply: reply is not None and reply[3] & 15 == 0)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def measured(port: int, pid: int, names: Path) -> Shown:
    """dnsperf from the other core: once to warm up, once that counts."""
    command = ["taskset", "-c", str(CORES[1]), *DNSPERF, "-p", str(port), "-d", str(names)]
    subprocess.run([*command, "-l", "1"], capture_output=True, check=True)
    worked = _worked(pid)
    said = subprocess.run([*command, "-l", str(SECONDS)], capture_output=True, check=True, text=True).stdout
    rate = int(re.search(r"Queries completed:\s+(\d+)", said)[1]) / (_worked(pid) - worked)  # type: ignore[index]
    lost = int(re.search(r"Queries lost:\s+(\d+)", said)[1])  # type: ignore[index]
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Shown(rate, lost, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def _worked(pid: int) -> float:
    """Seconds that a process has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def changed(caller: Caller, port: int, number: int) -> float:
    """Seconds from an acknowledged write of an endpoint to the first answer that has it."""
    address = f"10.244.{number // 250}.{number % 250 + 1}"
    tree = {
        "metadata": {"name": f"moving-{number}", "labels": {"kubernetes.io/service-name": "moving"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
    caller.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", tree)
    began = time.perf_counter()
    # each endpoint has a name of its own, so that answers stay small
    until_answered(port, f"{address.replace('.', '-')}.moving", lambda reply: bool(reply and reply[7]), pause=0.0)
    return time.perf_counter() - began


def until_answered(port: int, name: str, fits: object, *, pause: float = 0.05) -> None:
    """Ask until the answer is what it should be."""
    question = message.name(f"{name}.default.svc.cluster.local") + b"\0\1\0\1"
    ends = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(1.0)
        while time.monotonic() < ends:
            reply = None
            with contextlib.suppress(OSError):
                sock.send(b"\0\1\1\0\0\1\0\0\0\0\0\0" + question)
                reply = sock.recv(4096)
            if fits(reply):  # type: ignore[operator]
                return
            time.sleep(pause)
    raise RuntimeError(f"{name} is not answered as it should be")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


if __name__ == "__main__":
    import asyncio

    print(json.dumps([str(figure) for figure in asyncio.run(dns())], indent=1))
