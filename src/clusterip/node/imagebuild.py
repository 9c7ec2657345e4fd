"""Make the catalog's images out of Debian packages.

Stage: commit.  In: catalog entries.  Out: folders in the image store, and their lines in its index.
Rules: built in a folder of its own and renamed when complete; an entry whose key is in the index is not built again;
the same packages give the same files, with the packages' own times.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from clusterip.failure import Failure
from clusterip.kernel.packages import Apt, Archive, PackagesFailed, missing_tools, output_of
from clusterip.node import catalog
from clusterip.node.catalog import Entry, File, Folder, User
from clusterip.node.images import ImageStore, Record
from clusterip.node.unpack import Unpacker, UnpackFailed, resolve_inside

Say = Callable[[str], None]
MIRROR_HINT = "; does this machine reach its Debian mirror (apt-get update)?"
FIXED_TIME = 1735689600  # of the files that are ours: 2025-01-01, so that equal builds are equal


def outdated(store: ImageStore, entries: Sequence[Entry]) -> list[Entry]:
    """The entries that are not built, or were built from an older description."""
    records = store.records()
    return [entry for entry in entries if not _is_current(store, records.get(entry.name), entry)]


def build(store: ImageStore, archives: Path, entries: Sequence[Entry], say: Say) -> None:
    """Bring every entry up to date; the first that cannot be built ends it, those before stay."""
    if missing := missing_tools():
        raise Failure(f"image build needs {', '.join(missing)}: it makes images out of Debian packages")
    if os.geteuid() != 0:
        raise Failure("image build needs root: files of an image belong to several users; run it with sudo")
    apt = Apt(archives)
    for entry in entries:
        name = catalog.short_name(entry.name)
        say(f"image {name}: resolving {len(entry.packages)} packages")
        try:
            closure = _fetch(apt, entry, say)
            _build_one(store, apt, entry, closure)
        except PackagesFailed as error:
            raise Failure(f"image {name} cannot be built: {error}{MIRROR_HINT if error.of_mirror else ''}") from error
        except UnpackFailed as error:
            raise Failure(f"image {name} cannot be built: {error}") from error
        except OSError as error:
            raise Failure(
                f"image {name} cannot be built: {error.strerror}: {error.filename or store.folder}"
            ) from error
        say(f"image {name}: built {store.records()[entry.name].version} from {len(closure)} packages")


def _is_current(store: ImageStore, record: Record | None, entry: Entry) -> bool:
    return record is not None and record.key == entry.key and (store.path_of(record) / "config.json").exists()


def _fetch(apt: Apt, entry: Entry, say: Say) -> tuple[Archive, ...]:
    """The archives of an entry, on disk. Old lists name files that the mirror has no more: they are refreshed once."""
    try:
        return _fetch_once(apt, entry, say)
    except PackagesFailed as error:
        if not error.of_mirror:
            raise
        say("refreshing the package lists")
        apt.refresh()
        return _fetch_once(apt, entry, say)


def _fetch_once(apt: Apt, entry: Entry, say: Say) -> tuple[Archive, ...]:
    closure = apt.resolve(entry.packages)
    absent = [archive for archive in closure if not _is_here(apt, archive)]
    if absent:
        say(f"fetching {len(absent)} packages, {sum(archive.size for archive in absent) / 1e6:.1f} MB")
        apt.fetch(entry.packages)
    return closure


def _is_here(apt: Apt, archive: Archive) -> bool:
    path = apt.folder / archive.file
    return path.exists() and path.stat().st_size == archive.size


def _build_one(store: ImageStore, apt: Apt, entry: Entry, closure: Sequence[Archive]) -> None:
    version = next(a.version for a in closure if a.package == entry.versioned_by)
    short = catalog.short_name(entry.name).replace("/", "-")
    folder = f"{short}-{catalog.upstream_version(version)}-{entry.key}"
    work = store.folder / f".{folder}.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    try:
        _fill(work / "rootfs", apt, entry, closure)
        config = json.dumps(
            entry.config.to_oci() | {"history": [{"created_by": " ".join(a.file for a in closure)}]}, indent=1
        )
        (work / "config.json").write_text(config)
        size = sum(path.lstat().st_size for path in (work / "rootfs").rglob("*") if not path.is_dir())
        _replace(work, store.folder / folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    digest = hashlib.sha256(config.encode()).hexdigest()
    store.put(
        Record(entry.name, "catalog", folder, f"sha256:{digest}", catalog.upstream_version(version), entry.key, size)
    )


def _replace(work: Path, target: Path) -> None:
    """Put the finished folder in place. A folder of this name that is there has the same key but was not complete."""
    aside = target.with_name(f".{target.name}.old.{os.getpid()}")
    if target.exists():
        target.rename(aside)
    work.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def _fill(root: Path, apt: Apt, entry: Entry, closure: Sequence[Archive]) -> None:
    root.mkdir(parents=True)
    root.chmod(0o755)
    for name in catalog.MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    unpacker = Unpacker(root, keep=catalog.keeps)
    for archive in closure:
        with apt.open(archive) as stream:
            unpacker.add(stream)
    for folder in (*catalog.FOLDERS, *entry.folders):
        _make_folder(root, folder)
    for file in (*catalog.FILES, *entry.files, *_accounts((*catalog.USERS, *entry.users)), *_certificates(root)):
        _make_file(root, file)
    for path, target in (*catalog.LINKS, *entry.links):
        _make_link(root, path, target)
    if entry.applets:
        _link_applets(root)


def _make_folder(root: Path, folder: Folder) -> None:
    path = resolve_inside(root, folder.path)
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, folder.uid, folder.gid)
    path.chmod(folder.mode)


def _make_file(root: Path, file: File) -> None:
    path = resolve_inside(root, file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.text)
    path.chmod(file.mode)
    os.utime(path, (FIXED_TIME, FIXED_TIME))


def _make_link(root: Path, name: str, target: str) -> None:
    folder, _, last = name.rpartition("/")
    path = resolve_inside(root, folder) / last
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _accounts(users: Sequence[User]) -> tuple[File, ...]:
    """The three files that base-passwd's maintainer script would have made."""
    passwd = "".join(f"{u.name}:x:{u.uid}:{u.gid}:{u.name}:{u.home}:{u.shell}\n" for u in users)
    group = "".join(f"{u.group or u.name}:x:{u.gid}:\n" for u in users)
    shadow = "".join(f"{u.name}:*:19000:0:99999:7:::\n" for u in users)
    return File("etc/passwd", passwd), File("etc/group", group), File("etc/shadow", shadow, 0o640)


def _certificates(root: Path) -> tuple[File, ...]:
    """The bundle that update-ca-certificates would have made; none where the package is not."""
    found = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    if not found:
        return ()
    return (File("etc/ssl/certs/ca-certificates.crt", "".join(path.read_text().rstrip("\n") + "\n" for path in found)),)


def _link_applets(root: Path) -> None:
    """A link for each applet that busybox has and nothing else brought."""
    busybox = root / "usr/bin/busybox"
    for applet in output_of(busybox, "--list").split():
        taken = any(
            (root / "usr" / folder / applet).is_symlink() or (root / "usr" / folder / applet).exists()
            for folder in ("bin", "sbin")
        )
        if not taken:
            (root / "usr/bin" / applet).symlink_to("busybox")
