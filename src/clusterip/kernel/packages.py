"""Debian packages as archives: what apt would install into an empty system, fetched and opened.

Stage: commit (the shell around apt-get and dpkg-deb).  In: package names.  Out: archives on disk, their files as a tar.
Rules: apt resolves against an empty status file, so that the machine's own packages neither help nor change; nothing is
installed and no maintainer script runs; the lists are the machine's own.
Truth: apt-get(8) --print-uris and --download-only, apt.conf(5), dpkg-deb(1) --fsys-tarfile.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote

TOOLS = ("apt-get", "dpkg-deb")
RESOLVE_SECONDS = 600  # seconds of work, minutes on a machine that many share
FETCH_SECONDS = 900
OF_MIRROR = ("Unable to locate", "Failed to fetch", "has no installation candidate", "Unable to fetch")


class PackagesFailed(Exception):
    """apt or dpkg-deb said no; the text is its line of reason."""

    @property
    def of_mirror(self) -> bool:
        """Whether old lists or a mirror out of reach may be the reason."""
        return any(words in str(self) for words in OF_MIRROR)


@dataclass(frozen=True, slots=True)
class Archive:
    """One .deb as apt names it: name_version_architecture.deb."""

    file: str
    size: int

    @property
    def package(self) -> str:
        return self.file.split("_")[0]

    @property
    def version(self) -> str:
        return unquote(self.file.split("_")[1])


def missing_tools() -> list[str]:
    """The programs that this module needs and the machine has not."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


class Apt:
    """apt's resolver and downloader with an archive folder of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("partial", "none/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        self._options = [
            f"Dir::State::status={folder / 'status'}",
            f"Dir::State::extended_states={folder / 'extended_states'}",
            f"Dir::Cache::archives={folder}",
            "Dir::Cache::pkgcache=",
            "Dir::Cache::srcpkgcache=",
            "Debug::NoLocking=true",
            "APT::Install-Recommends=false",
            "APT::Sandbox::User=",
            "Acquire::Retries=2",
        ]

    def resolve(self, packages: Sequence[str]) -> tuple[Archive, ...]:
        """Every archive that the packages need, complete, in apt's order."""
        # archives that are in the folder would be left out, so apt is shown an empty one
        empty = ["-o", f"Dir::Cache::archives={self.folder / 'none'}"]
        text = self._apt([*empty, "--print-uris", "install", *packages], RESOLVE_SECONDS)
        fields = (line.split() for line in text.splitlines() if line.startswith("'"))
        return tuple(Archive(file=f[1], size=int(f[2])) for f in fields)

    def fetch(self, packages: Sequence[str]) -> None:
        """Bring the archives of the packages into the folder; those already there are kept."""
        self._apt(["--download-only", "install", *packages], FETCH_SECONDS)

    def refresh(self) -> None:
        """Bring the machine's package lists up to date."""
        self._apt(["update"], FETCH_SECONDS)

    @contextmanager
    def open(self, archive: Archive) -> Iterator[IO[bytes]]:
        """The files of an archive as one tar stream."""
        command = ["dpkg-deb", "--fsys-tarfile", str(self.folder / archive.file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            yield process.stdout
            process.stdout.read()  # the stream's padding, else dpkg-deb ends by SIGPIPE
            reason = process.stderr.read().decode(errors="replace")
        if process.returncode:
            raise PackagesFailed(f"{archive.file}: {_last_line(reason)}")

    def _apt(self, words: Sequence[str], timeout_seconds: float) -> str:
        options = [word for option in self._options for word in ("-o", option)]
        try:
            done = subprocess.run(
                ["apt-get", "-qq", "-y", *options, *words],
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PackagesFailed(f"apt-get: {error}") from error
        if done.returncode:
            raise PackagesFailed(_last_line(done.stderr))
        return done.stdout


def output_of(program: Path, *words: str) -> str:
    """What a program of an unpacked archive prints; it must need nothing but the kernel."""
    try:
        done = subprocess.run([str(program), *words], capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PackagesFailed(f"{program.name} {' '.join(words)}: {error}") from error
    return done.stdout


def _last_line(text: str) -> str:
    """apt prints its own reason last, as `E: ...`; fetch errors come before a general remark, so the first E: wins."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    return (errors or lines or ["no reason given"])[0]
