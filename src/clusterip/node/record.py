"""What the node keeps on disk of each pod, so that an agent that starts again adopts what runs.

Stage: read and commit.  In: records.  Out: files below the node's root; paths of everything that a pod has there.
Rules: a record is replaced whole, by rename; one that cannot be read is set aside and costs only its pod's history.
Layout: ROOT/pods/UID/{pod.json, ns/{net,uts,ipc}, shm, etc/, volumes/NAME, containers/NAME/ATTEMPT/}.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import msgspec

logger = logging.getLogger(__name__)


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of one container."""

    attempt: int
    id: str
    forked: bool = False  # by the zygote, without a runtime
    boot: str = ""  # forked in a guest: pid and start time are of this boot of its kernel
    pid: int = 0
    pid_start: int = 0
    monitor_pid: int = 0
    monitor_start: int = 0
    image_id: str = ""
    stop_signal: str = ""
    started_at: str = ""
    finished_at: str = ""
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    resources: dict[str, Any] | None = None  # what it runs with

    @property
    def ended(self) -> bool:
        return bool(self.finished_at)


class PodRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pod."""

    uid: str
    namespace: str
    name: str
    tree: dict[str, Any]
    started_at: str
    sandbox: bool = False
    ip: str = ""
    released: bool = False  # the address is free again, though the status still shows it
    link: str = ""
    granted: dict[str, dict[str, Any]] | None = None  # container -> its resources
    attempts: dict[str, list[AttemptRecord]] = msgspec.field(default_factory=dict)  # newest last, at most two
    delays: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)  # back-off: seconds, set at


class PodFolder:
    """Where one pod's things are."""

    def __init__(self, root: Path, uid: str, log_root: Path) -> None:
        self.path = root / "pods" / uid
        self.log_root = log_root
        self.record_path = self.path / "pod.json"
        self.shm = self.path / "shm"
        self.etc = self.path / "etc"

    def namespace(self, kind: str) -> Path:
        return self.path / "ns" / kind

    def volume(self, name: str) -> Path:
        return self.path / "volumes" / name

    def container(self, name: str) -> Path:
        return self.path / "containers" / name

    def attempt(self, container: str, attempt: int) -> Path:
        return self.container(container) / str(attempt)

    def logs(self, namespace: str, name: str, uid: str) -> Path:
        return self.log_root / f"{namespace}_{name}_{uid}"

    def save(self, record: PodRecord) -> None:
        """Replace the record."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o750)
        fresh = self.record_path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(record))
        os.replace(fresh, self.record_path)


def load(root: Path) -> dict[str, PodRecord]:
    """Every pod that this node knows from before, by uid."""
    found: dict[str, PodRecord] = {}
    for path in sorted((root / "pods").glob("*/pod.json")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=PodRecord)
        except (OSError, msgspec.DecodeError) as error:
            logger.warning("Cannot read a pod's record", extra={"kv": {"path": path, "err": error}})
            continue
        found[record.uid] = record
    return found


def log_path(logs: Path, container: str, attempt: int) -> Path:
    """Where an attempt of a container writes."""
    return logs / container / f"{attempt}.log"
