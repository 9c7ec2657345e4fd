"""A cluster's state folder: where everything that it keeps lies, and the records of its processes.

Stage: edge.  In: the environment, a cluster name.  Out: paths, records, a lock.
Rules: files are replaced whole.  A process is recorded by whoever started it, in a file of its own, so that writers
never meet; pid and start time together name it.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterip.cluster.config import Config
from clusterip.failure import Failure
from clusterip.kernel.process import Process, of_pid


def home() -> Path:
    """Where clusters keep their state."""
    return Path(os.environ.get("CLUSTERIP_HOME") or Path.home() / ".clusterip").absolute()


def cache() -> Path:
    """What outlives clusters: images, kubectl."""
    return Path(os.environ.get("CLUSTERIP_CACHE") or Path.home() / ".cache" / "clusterip").absolute()


CLUSTERS = "/clusterip"
"""The control group of all clusters."""
MADE_HOME = b"made the folder of clusters"


@dataclass(frozen=True)
class Folder:
    """The state folder of one cluster."""

    name: str
    path: Path

    @classmethod
    def of(cls, name: str) -> Folder:
        return cls(name, home() / name)

    @property
    def cluster_json(self) -> Path:
        return self.path / "cluster.json"

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def volumes(self) -> Path:
        """The persistent volumes of all nodes."""
        return self.path / "volumes"

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def kubeconfigs(self) -> Path:
        return self.path / "kubeconfigs"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """Sockets; visible in nodes as /run/clusterip/cluster."""
        return self.path / "run"

    @property
    def zygote_socket(self) -> Path:
        return self.run / "zygote.sock"

    @property
    def supervisor_socket(self) -> Path:
        return self.path / "supervisor.sock"

    @property
    def processes(self) -> Path:
        return self.path / "processes"

    @property
    def lock_file(self) -> Path:
        return self.path.with_name(f".{self.name}.lock")

    @property
    def cgroup(self) -> str:
        """The control group that holds every process of the cluster; the folder's number keeps homes apart."""
        return f"{CLUSTERS}/{self.name}-{_mark(self.path)}"

    def node(self, name: str) -> Path:
        return self.path / "nodes" / name

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def kubeconfig_of(self, identity: str) -> Path:
        return self.kubeconfigs / f"{identity}.conf"

    def make(self) -> None:
        """The folder with its parts, for its owner alone."""
        try:
            for path in (self.path, self.pki, self.kubeconfigs, self.logs, self.run, self.processes):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Failure(
                f"cannot make {error.filename}: {error.strerror}; choose a folder by CLUSTERIP_HOME"
            ) from error

    # -- cluster.json -------------------------------------------------------------------------------------------------

    def read_cluster(self) -> dict[str, Any] | None:
        """What `up` wrote, or None when no cluster was begun here."""
        try:
            tree: dict[str, Any] = json.loads(self.cluster_json.read_text())
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise Failure(f"cannot read {self.cluster_json}: {error}; `clusterip down` removes the cluster") from error
        return tree

    def config(self) -> Config | None:
        tree = self.read_cluster()
        return None if tree is None else Config.from_tree(tree["config"])

    def write_cluster(self, tree: Mapping[str, Any]) -> None:
        write_whole(self.cluster_json, json.dumps(tree, indent=2) + "\n")

    # -- processes ----------------------------------------------------------------------------------------------------

    def record(self, name: str, process: Process) -> None:
        """Remember a process under a name like "node-1/agent"."""
        write_whole(self.processes / name.replace("/", "@"), f"{process.pid} {process.started}\n")

    def forget(self, name: str) -> None:
        (self.processes / name.replace("/", "@")).unlink(missing_ok=True)

    def recorded(self) -> dict[str, Process]:
        """Every process on record, alive or not."""
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self.processes.iterdir()):
                with contextlib.suppress(OSError, ValueError):
                    pid, started = path.read_text().split()
                    found[path.name.replace("@", "/")] = Process(int(pid), int(started))
        return found

    def living(self) -> dict[str, Process]:
        """The processes on record that still run."""
        return {name: process for name, process in self.recorded().items() if process.alive()}


def _mark(path: Path) -> str:
    """Few letters that tell two homes apart."""
    number = 0
    for byte in str(path.parent).encode():
        number = (number * 131 + byte) % 0xFFFFFF
    return f"{number:06x}"


def write_whole(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Replace a file at once; readers see the old one or the new one."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    part.replace(path)


def own_process() -> Process:
    found = of_pid(os.getpid())
    assert found is not None
    return found


@contextlib.contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Hold the cluster's lock; a second `up` or `down` at the same time is told so."""
    fresh_home = not folder.lock_file.parent.exists()
    fd = _take_lock(folder)
    try:
        if fresh_home:
            os.write(fd, MADE_HOME)
        yield
    finally:
        if not folder.path.exists():
            _remove_lock(folder, os.pread(fd, len(MADE_HOME), 0) == MADE_HOME)
        os.close(fd)


def _remove_lock(folder: Folder, made_home: bool) -> None:
    """The folder of all clusters goes too, if it was made for this one and is empty."""
    folder.lock_file.unlink(missing_ok=True)
    if made_home:
        with contextlib.suppress(OSError):
            folder.lock_file.parent.rmdir()


def _take_lock(folder: Folder) -> int:
    while True:
        try:
            folder.lock_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(folder.lock_file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Failure(f"cannot use {folder.lock_file.parent}: {error.strerror}; choose CLUSTERIP_HOME") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise Failure(f"another `up` or `down` of cluster {folder.name} is at work; wait for it to end") from None
        with contextlib.suppress(FileNotFoundError):
            if os.stat(folder.lock_file).st_ino == os.fstat(fd).st_ino:
                return fd
        os.close(fd)  # it was removed between our open and our lock
