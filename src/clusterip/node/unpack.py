"""Write the files of tar streams below one folder, as layers of an image.

Stage: commit.  In: tar streams (Debian archives, OCI layers), in order.  Out: files below the root.
Rules: nothing is written outside the root, whatever the names and links in a stream say; a directory that is already
there as a link is followed (Debian's merged /usr); devices are left out, the runtime makes /dev.
Truth: OCI image specification, layer.md (whiteouts); pax(1) for the extended headers.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
XATTR = "SCHILY.xattr."
DEEPEST = 40  # links followed for one name, as the kernel does


class UnpackFailed(Exception):
    """A stream is no tar, or says something that cannot be done; the text says which name."""


class Unpacker:
    """One root being filled."""

    def __init__(
        self, root: Path, *, keep: Callable[[str], bool] = lambda name: True, owners: bool | None = None
    ) -> None:
        self.root = root
        self._keep = keep
        self._owners = os.geteuid() == 0 if owners is None else owners
        self._folders: dict[str, Path] = {}

    def add(self, stream: IO[bytes], *, whiteouts: bool = False) -> int:
        """Unpack one stream; the number of names written."""
        count = 0
        fresh: set[Path] = set()
        try:
            with tarfile.open(fileobj=stream, mode="r|*") as archive:
                for member in archive:
                    name = _clean(member.name)
                    if not name or not self._keep(name):
                        continue
                    if whiteouts and self._white_out(name, fresh):
                        continue
                    count += self._write(archive, member, name)
                    fresh.add(self._place(name))
        except (tarfile.TarError, EOFError) as error:
            raise UnpackFailed(f"not a readable tar: {error}") from error
        except OSError as error:
            raise UnpackFailed(f"{error.strerror}: {error.filename or self.root}") from error
        return count

    def _place(self, name: str) -> Path:
        """Where a name lies: its folder with links followed inside the root, its last part as it is."""
        folder, _, last = name.rpartition("/")
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = resolve_inside(self.root, folder)
        return found / last

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> int:
        path = self._place(name)
        if member.isdir():
            return self._write_folder(member, path, name)
        if member.ischr() or member.isblk():
            return 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clear(path)
        if member.issym():
            self._folders.clear()
            path.symlink_to(member.linkname)
        elif member.islnk():
            os.link(self._place(_clean(member.linkname)), path, follow_symlinks=False)
            return 1
        elif member.isfifo():
            os.mkfifo(path)
        else:
            source = archive.extractfile(member)
            if source is None:
                return 0
            with source, open(path, "xb") as target:
                shutil.copyfileobj(source, target, 256 * 1024)
        self._dress(member, path)
        return 1

    def _write_folder(self, member: tarfile.TarInfo, path: Path, name: str) -> int:
        if path.is_symlink():
            resolve_inside(self.root, name).mkdir(parents=True, exist_ok=True)
            return 0
        if path.exists() and not path.is_dir():
            self._clear(path)
        path.mkdir(parents=True, exist_ok=True)
        self._dress(member, path)
        return 1

    def _clear(self, path: Path) -> None:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path)
            self._folders.clear()

    def _dress(self, member: tarfile.TarInfo, path: Path) -> None:
        """Owner, mode, capabilities and time; chown first, since it clears set-user-id."""
        if self._owners:
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if not member.issym():
            os.chmod(path, stat.S_IMODE(member.mode))
        for header, value in member.pax_headers.items():
            if header.startswith(XATTR) and self._owners:
                with suppress(OSError):  # a file system without them still gives a usable image
                    os.setxattr(path, header.removeprefix(XATTR), value.encode("utf-8", "surrogateescape"))
        if not member.isdir():
            os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)

    def _white_out(self, name: str, fresh: set[Path]) -> bool:
        """Apply a whiteout; it hides lower layers only, never what its own layer brought."""
        folder, _, last = name.rpartition("/")
        if not last.startswith(WHITEOUT):
            return False
        place = self._place(f"{folder}/x").parent
        hidden = list(place.iterdir()) if last == OPAQUE and place.is_dir() else [place / last.removeprefix(WHITEOUT)]
        for path in hidden:
            if path not in fresh and (path.exists() or path.is_symlink()):
                self._clear(path)
        return True


def resolve_inside(root: Path, name: str) -> Path:
    """The path that a name has when root is `/`: links are followed, none leads out."""
    done: list[str] = []
    todo = name.split("/")[::-1]
    followed = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        path = root.joinpath(*done, part)
        if not path.is_symlink():
            done.append(part)
            continue
        followed += 1
        if followed > DEEPEST:
            raise UnpackFailed(f"too many links: {name}")
        target = os.readlink(path)
        if target.startswith("/"):
            done.clear()
        todo.extend(target.split("/")[::-1])
    return root.joinpath(*done)


def _clean(name: str) -> str:
    """A member's name without a leading ./ or /, and without ..; empty for the root itself."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
