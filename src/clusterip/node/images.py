"""The image store: a folder of unpacked images and the index that names them.

Stage: read and commit.  In: references.  Out: where an image's files are and how it runs, or why it cannot be had.
Order: the store's own images (loaded archives), then the catalog.  Rules: an image appears in the index only when it is
complete; a folder in use is never changed, a newer build gets a folder of its own.
Layout: index.json, FOLDER/rootfs/, FOLDER/config.json (OCI image configuration).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from clusterip.node import catalog
from clusterip.node.imagespec import BadReference, ImageConfig, Reference, config_from_oci, parse_reference
from clusterip.node.volumes import VolumeError

INDEX = "index.json"
# parts of clusterip itself: forked and not executed, whatever the tag
SYSTEM: Mapping[str, ImageConfig] = {
    "docker.io/library/clusterip": ImageConfig(),
    "quay.io/metallb/controller": ImageConfig(entrypoint=("/controller",)),
    "quay.io/metallb/speaker": ImageConfig(entrypoint=("/speaker",)),
    "registry.k8s.io/ingress-nginx/controller": ImageConfig(),  # its program is the first argument
}
BUILD_COMMAND = "clusterip image build"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the index."""

    name: str  # docker.io/library/nginx for a catalog image, docker.io/library/nginx:1.20 for a loaded one
    source: str  # "catalog" or "local"
    folder: str
    id: str  # sha256 of the configuration
    version: str
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is here."""

    reference: str  # as it was asked for
    name: str  # in full: docker.io/library/nginx:1.20
    id: str
    rootfs: Path | None  # None: a part of clusterip itself, forked and not executed
    config: ImageConfig
    source: str  # "local", "catalog" or "system"
    substituted: str | None = None  # a sentence when it is not the original


@dataclass(frozen=True, slots=True)
class ImageMissing:
    """An image that cannot be had, and why; reason is the container's waiting reason."""

    reference: str
    reason: str  # "InvalidImageName" or "ErrImagePull"
    message: str


class ImageStore:
    """A folder of images, read anew whenever its index changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: tuple[int, int] | None = None
        self._records: dict[str, Record] = {}

    def records(self) -> Mapping[str, Record]:
        """What the index names."""
        path = self.folder / INDEX
        try:
            state = path.stat()
        except FileNotFoundError:
            self._seen, self._records = None, {}
            return self._records
        seen = (state.st_mtime_ns, state.st_ino)
        if seen != self._seen:
            lines = json.loads(path.read_bytes())["images"]
            self._records = {line["name"]: Record(**line) for line in lines}
            self._seen = seen
        return self._records

    def resolve(self, text: str) -> Image | ImageMissing:
        """The image that a pod's `image:` means."""
        try:
            reference = parse_reference(text)
        except BadReference as error:
            return ImageMissing(
                text, "InvalidImageName", f'Failed to apply default image tag "{text}": {_unparsed(text, error)}'
            )
        if reference.name in SYSTEM:
            return Image(text, str(reference), "sha256:" + "0" * 64, None, SYSTEM[reference.name], "system")
        record = self.records().get(str(reference))
        if record is not None:
            return self._image(text, reference, record)
        entry = catalog.find(reference.name)
        if entry is None or reference.digest:
            return ImageMissing(text, "ErrImagePull", _missing(reference))
        record = self.records().get(entry.name)
        if record is None:
            return ImageMissing(text, "ErrImagePull", _not_built(entry))
        image = self._image(text, reference, record)
        return replace(
            image, substituted=f"{text} is served by catalog {catalog.short_name(entry.name)} {record.version}"
        )

    def path_of(self, record: Record) -> Path:
        return self.folder / record.folder

    def put(self, record: Record) -> None:
        """Name an image; its folder is complete."""
        with self._locked():
            self._seen = None
            records = {**self.records(), record.name: record}
            text = json.dumps({"images": [asdict(r) for _, r in sorted(records.items())]}, indent=1)
            fresh = self.folder / f".{INDEX}.{os.getpid()}"
            fresh.write_text(text + "\n")
            fresh.rename(self.folder / INDEX)

    def _image(self, text: str, reference: Reference, record: Record) -> Image:
        folder = self.path_of(record)
        config = config_from_oci(json.loads((folder / "config.json").read_bytes()))
        return Image(text, str(reference), record.id, folder / "rootfs", config, record.source)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def image_folder(images: ImageStore, source: Mapping[str, object]) -> Path:
    """What a volume of type image shows; VolumeError when it cannot be had."""
    reference = str(source.get("reference") or "")
    found = images.resolve(reference)
    if isinstance(found, ImageMissing):
        raise VolumeError(f'image "{reference}": {found.message}')
    if found.rootfs is None:
        raise VolumeError(f'image "{reference}" is a part of clusterip and has no files')
    return found.rootfs


def default_folder(environ: Mapping[str, str]) -> Path:
    """Where images are kept: below $CLUSTERIP_CACHE."""
    cache = environ.get("CLUSTERIP_CACHE") or Path(environ.get("HOME") or "/root", ".cache", "clusterip")
    return Path(cache, "images")


def _unparsed(text: str, error: BadReference) -> str:
    return f"couldn't parse image name {json.dumps(text)}: {error}"


def _missing(reference: Reference) -> str:
    known = ", ".join(catalog.short_name(entry.name) for entry in catalog.CATALOG)
    why = (
        "a digest names exactly one image, and it is not in the local store"
        if reference.digest
        else f"not in the local store or the catalog ({known})"
    )
    return f"{why}; load it with: clusterip image load ARCHIVE"


def _not_built(entry: catalog.Entry) -> str:
    name = catalog.short_name(entry.name)
    return f"catalog image {name} is not built; run: {BUILD_COMMAND}"
