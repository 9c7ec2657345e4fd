"""The volumes of a pod on the node's disk.

Stage: commit.  In: files to show, volume specs.  Out: folders and files; their paths.
Rules: files from the API are replaced all at once: a reader sees the old ones or the new ones, never a mixture.
Truth: pkg/volume/util/atomic_writer.go (a ..data link to a dated folder), core/v1 HostPathVolumeSource.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterip.api.quantity import amount
from clusterip.kernel import mount

if TYPE_CHECKING:  # what it imports is heavy, and the command of images comes by here
    from clusterip.node.payload import Files

DATA = "..data"
DATA_NEW = "..data_tmp"


class VolumeError(Exception):
    """A volume that cannot be had; the text is for the pod's events."""


def write_files(folder: Path, files: Files, moment: datetime, group: int | None = None) -> bool:
    """Show exactly these files in the folder; whether anything had to change."""
    folder.mkdir(parents=True, exist_ok=True)
    if read_files(folder) == {path: file.content for path, file in files.items()}:
        return False
    dated = folder / f"..{moment:%Y_%m_%d_%H_%M_%S}.{moment.microsecond * 1000 + os.getpid() % 1000}"
    dated.mkdir(mode=0o755)
    for name, file in files.items():
        _write(dated / name, file.content, file.mode, group)
    former = os.path.realpath(folder / DATA) if (folder / DATA).is_symlink() else None
    with contextlib.suppress(FileNotFoundError):
        (folder / DATA_NEW).unlink()
    os.symlink(dated.name, folder / DATA_NEW)
    os.rename(folder / DATA_NEW, folder / DATA)
    _link_names(folder, {name.split("/")[0] for name in files})
    if former:
        shutil.rmtree(former, ignore_errors=True)
    return True


def read_files(folder: Path) -> dict[str, bytes] | None:
    """What the folder shows; None when it was never written."""
    current = folder / DATA
    if not current.is_dir():
        return None
    return {str(path.relative_to(current)): path.read_bytes() for path in sorted(current.rglob("*")) if path.is_file()}


def _write(path: Path, content: bytes, mode: int, group: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode | 0o440 if group is not None else mode)
    if group is not None:
        os.chown(path, -1, group)


def _link_names(folder: Path, wanted: set[str]) -> None:
    """The names that users open: links through ..data."""
    for name in wanted:
        if not (folder / name).is_symlink():
            os.symlink(f"{DATA}/{name}", folder / name)
    for path in folder.iterdir():
        if path.is_symlink() and not path.name.startswith("..") and path.name not in wanted:
            path.unlink()


def make_empty(folder: Path, source: Mapping[str, Any], group: int | None) -> None:
    """An empty folder for the pod's life; in memory when asked."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    if source.get("medium") == "Memory":
        limit = int(amount(str(source.get("sizeLimit") or "0")))
        mount.mount("tmpfs", folder, "tmpfs", 0, f"mode=1777,size={limit}" if limit else "mode=1777")
    if group is not None:
        os.chown(folder, -1, group)
        folder.chmod(0o2777)
    else:
        folder.chmod(0o777)


def host_path(source: Mapping[str, Any]) -> Path:
    """A path of the node, checked or made as its type says."""
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    checks = {
        "Directory": (path.is_dir, "directory"),
        "File": (path.is_file, "file"),
        "Socket": (path.is_socket, "socket file"),
        "CharDevice": (path.is_char_device, "character device"),
        "BlockDevice": (path.is_block_device, "block device"),
    }
    wanted = checks.get(kind.removesuffix("OrCreate"))
    if wanted and not wanted[0]():
        raise VolumeError(f"hostPath type check failed: {path} is not a {wanted[1]}")
    return path


def link(folder: Path, target: Path) -> None:
    """Show a folder of the node as the volume."""
    if folder.is_symlink() and os.readlink(folder) == str(target):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():
        folder.unlink()
    folder.symlink_to(target)


def below(base: Path, sub: str, *, make: bool = True) -> Path:
    """A path inside a volume; one that leads out of it is refused, and one that nobody may make."""
    real, target = Path(os.path.realpath(base)), Path(os.path.realpath(base / sub))
    if real != target and real not in target.parents:
        raise VolumeError(f"subPath {sub!r} leads out of the volume")
    if not target.exists():
        if not make:
            raise VolumeError(f"subPath {sub!r} is not in the volume")
        target.mkdir(parents=True)
    return target


def remove(folder: Path) -> None:
    """Unmount what is mounted below the folder, then delete it."""
    text = str(folder)
    held = [m.target for m in mount.mounts() if m.target == text or m.target.startswith(text + "/")]
    for target in reversed(held):
        with contextlib.suppress(OSError):
            mount.umount(target, lazy=True)
    shutil.rmtree(folder, ignore_errors=True)
