"""What an image is called and how it runs: references and the run configuration.

Stage: values.  In: reference text, OCI image configuration.  Out: frozen values.
Rules: pure.
Truth: github.com/distribution/reference (grammar of references), OCI image specification config.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_REGISTRY = "docker.io"
DEFAULT_FOLDER = "library"
DEFAULT_TAG = "latest"

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}")
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
)
_ALIASES = {"index.docker.io": DEFAULT_REGISTRY, "registry-1.docker.io": DEFAULT_REGISTRY}


class BadReference(ValueError):
    """Not the name of an image; the text is the registry library's word for why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """registry/path:tag@digest with defaults filled in."""

    registry: str
    path: str
    tag: str
    digest: str = ""

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.path}"

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """A reference with docker.io, library and latest filled in where it leaves them out."""
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise BadReference("invalid reference format")
    registry, rest = _split_registry(rest)
    path, colon, tag = rest.partition(":")
    if (colon and not _TAG.fullmatch(tag)) or not path:
        raise BadReference("invalid reference format")
    if path != path.lower():
        raise BadReference(f"invalid reference format: repository name ({path}) must be lowercase")
    if not all(_COMPONENT.fullmatch(part) for part in path.split("/")):
        raise BadReference("invalid reference format")
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"{DEFAULT_FOLDER}/{path}"
    return Reference(registry, path, tag or DEFAULT_TAG, digest)


def _split_registry(text: str) -> tuple[str, str]:
    """The first part is a registry when it could be a host: it has a dot or a port, or is localhost."""
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        if not _REGISTRY.fullmatch(first):
            raise BadReference("invalid reference format")
        return _ALIASES.get(first, first), rest
    return DEFAULT_REGISTRY, text


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about how it is run."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    ports: tuple[str, ...] = ()

    def to_oci(self) -> dict[str, Any]:
        """The OCI image configuration, without what is empty."""
        fields = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.ports},
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "WorkingDir": self.working_dir,
            "StopSignal": self.stop_signal,
        }
        return {"architecture": "amd64", "os": "linux", "config": {k: v for k, v in fields.items() if v}}


def config_from_oci(tree: Mapping[str, Any]) -> ImageConfig:
    """The run configuration of an OCI (or Docker) image configuration."""
    fields: Mapping[str, Any] = tree.get("config") or {}
    return ImageConfig(
        entrypoint=tuple(fields.get("Entrypoint") or ()),
        cmd=tuple(fields.get("Cmd") or ()),
        env=tuple(fields.get("Env") or ()),
        user=fields.get("User") or "",
        working_dir=fields.get("WorkingDir") or "",
        stop_signal=fields.get("StopSignal") or "",
        ports=tuple(fields.get("ExposedPorts") or ()),
    )
