"""Load an image archive into the store: `docker save` or an OCI layout, as a tar.

Stage: commit.  In: one archive.  Out: one folder in the store for each image, and a line in its index for each name.
Rules: layers are applied in order into one root; an archive that cannot be read whole changes nothing.
Truth: OCI image specification image-layout.md and manifest.md; Docker's image specification v1.2 (manifest.json).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from clusterip.failure import Failure
from clusterip.node.images import ImageStore, Record
from clusterip.node.imagespec import BadReference, parse_reference
from clusterip.node.unpack import Unpacker, UnpackFailed

NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True, slots=True)
class Found:
    """One image of an archive: the member that is its configuration, its layers, the names it has."""

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]


def load(store: ImageStore, archive: Path, name: str | None = None) -> list[Record]:
    """Bring the images of an archive into the store; the index lines that they got."""
    if os.geteuid() != 0:
        raise Failure("image load needs root: files of an image belong to several users; run it with sudo")
    try:
        with tarfile.open(archive) as tar:
            images = _images(tar)
            return [record for image in images for record in _load_one(store, tar, image, _names(image, name, archive))]
    except (tarfile.TarError, KeyError, ValueError, UnpackFailed, EOFError, gzip.BadGzipFile) as error:
        raise Failure(
            f"{archive} is not an image archive that can be read: {error}; make one with docker save or skopeo copy"
        ) from error
    except OSError as error:
        raise Failure(f"cannot load {archive}: {error.strerror or error}") from error


def _images(tar: tarfile.TarFile) -> list[Found]:
    names = set(tar.getnames())
    if "manifest.json" in names:
        return [
            Found(m["Config"], tuple(m["Layers"]), tuple(m.get("RepoTags") or ())) for m in _json(tar, "manifest.json")
        ]
    return [image for descriptor in _json(tar, "index.json")["manifests"] for image in _manifest(tar, descriptor, ())]


def _manifest(tar: tarfile.TarFile, descriptor: dict[str, Any], names: tuple[str, ...]) -> list[Found]:
    """The images below a descriptor; of an index for several machines, the one for amd64."""
    annotations = descriptor.get("annotations") or {}
    names = names or tuple(annotations[key] for key in NAME_ANNOTATIONS if key in annotations)[:1]
    tree = _json(tar, _blob(descriptor["digest"]))
    if "manifests" in tree:
        fitting = [d for d in tree["manifests"] if (d.get("platform") or {}).get("architecture", "amd64") == "amd64"]
        return [image for d in fitting[:1] for image in _manifest(tar, d, names)]
    return [Found(_blob(tree["config"]["digest"]), tuple(_blob(layer["digest"]) for layer in tree["layers"]), names)]


def _load_one(store: ImageStore, tar: tarfile.TarFile, image: Found, names: Sequence[str]) -> list[Record]:
    config = _read(tar, image.config)
    json.loads(config)
    digest = hashlib.sha256(config).hexdigest()
    folder = f"loaded-{digest[:24]}"
    work = store.folder / f".{folder}.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    try:
        root = work / "rootfs"
        root.mkdir(parents=True)
        root.chmod(0o755)
        unpacker = Unpacker(root)
        for layer in image.layers:
            with _member(tar, layer) as stream:
                unpacker.add(stream, whiteouts=True)
        (work / "config.json").write_bytes(config)
        size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())
        if not (store.folder / folder).exists():
            work.rename(store.folder / folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    records = [
        Record(str(parse_reference(name)), "local", folder, f"sha256:{digest}", "", digest, size) for name in names
    ]
    for record in records:
        store.put(record)
    return records


def _names(image: Found, name: str | None, archive: Path) -> tuple[str, ...]:
    names = (name,) if name else image.names
    if not names:
        raise Failure(f"{archive} names no image: say its name with --name")
    for text in names:
        try:
            parse_reference(text)
        except BadReference as error:
            raise Failure(
                f'{archive}: "{text}" is not a name that an image can have: {error}; give one with --name'
            ) from error
    return names


def _blob(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def _json(tar: tarfile.TarFile, name: str) -> Any:
    return json.loads(_read(tar, name))


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    with _member(tar, name) as stream:
        return stream.read()


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(f"{name} is not a file")
    return member
