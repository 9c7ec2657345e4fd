"""A real etcd for tests: one process on loopback, a folder of its own, killed by its id."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from clusterip.store import etcd as store_etcd
from clusterip.store.contract import StoreError
from clusterip.store.etcdclient import Endpoints, EtcdClient
from transport.ports import free_port

PATIENCE = 60.0
NUMBERS = itertools.count()


@dataclass
class Etcd:
    """A server that may be stopped, started again, or frozen."""

    folder: Path
    port: int = field(default_factory=free_port)
    peer: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    scheme: str = "http"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def endpoints(self, prefix: str = "") -> Endpoints:
        """A prefix of one's own, unless one is given."""
        return Endpoints(urls=(self.url,), prefix=prefix or f"/test-{next(NUMBERS)}")

    def start(self, wait: bool = True) -> None:
        peer = f"http://127.0.0.1:{self.peer}"
        command = ["etcd", "--name=test", f"--data-dir={self.folder}/etcd", f"--listen-client-urls={self.url}"]
        command += [f"--advertise-client-urls={self.url}", f"--listen-peer-urls={peer}"]
        command += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=test={peer}", *self.options]
        with open(self.folder / "etcd.log", "ab") as log:
            environment = {**os.environ, "ETCD_UNSUPPORTED_ARCH": os.uname().machine}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        if wait:
            asyncio.run(self._answering())

    async def _answering(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            client = EtcdClient(self.endpoints("/nobody"))
            try:
                await client.version()
            except StoreError:
                assert time.monotonic() < deadline, (self.folder / "etcd.log").read_text()[-2000:]
                await asyncio.sleep(0.05)
            else:
                return
            finally:
                await client.close()

    def stop(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self, frozen: bool = True) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)
        while frozen and not self._is_still():  # the signal is sent at once, the threads stop one by one
            time.sleep(0.001)

    def _is_still(self) -> bool:
        assert self.process is not None
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return all((each / "stat").read_text().rpartition(")")[2].split()[0] == "T" for each in threads)


@contextmanager
def brief() -> Iterator[None]:
    """Who writes in this block does not wait long for an etcd that does not answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_etcd, "WRITE_SECONDS", 3.0)
        patch.setattr(store_etcd, "TRY_SECONDS", 1.5)
        yield


@contextmanager
def etcd(**options: object) -> Iterator[Etcd]:
    """A running etcd for the length of the block."""
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed (Debian's etcd-server)")
    with TemporaryDirectory(prefix="test-etcd-") as folder:
        server = Etcd(Path(folder), **options)  # type: ignore[arg-type]
        try:
            server.start()
            yield server
        finally:
            server.stop()
