"""Is this machine able to run a cluster?  Asked before anything is made.

Stage: read.  In: the machine.  Out: nothing, or one Failure that names all that is missing and what brings it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from clusterip.cluster.config import NAMESPACE, UML
from clusterip.cluster.folder import cache, home
from clusterip.failure import Failure
from clusterip.kernel import modules, uml

# what is needed -> any of these programs -> the Debian package that brings it
PROGRAMS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("nft",), "nftables"),
    (("runc", "crun"), "runc"),
    (("conmon",), "conmon"),
)
UML_PROGRAMS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((uml.PROGRAM,), uml.PACKAGE),
    (("modprobe",), "kmod"),
    (("ip",), "iproute2"),
    (("iptables-legacy",), "iptables"),
    (("ipvsadm",), "ipvsadm"),
    (("ipset",), "ipset"),
)
NEEDED_BYTES = 64 << 20
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_root(euid: int) -> None:
    if euid != 0:
        raise Failure("a cluster needs root, for its network namespaces: run it as root, as in `sudo clusterip up`")


def missing_programs(which: Callable[[str], str | None], kind: str = NAMESPACE) -> list[tuple[str, str]]:
    """What nodes of this kind need and is not there: (programs, package)."""
    wanted = (*PROGRAMS, *(UML_PROGRAMS if kind == UML else ()))
    return [(" or ".join(names), package) for names, package in wanted if not any(map(which, names))]


def explain(missing: Sequence[tuple[str, str]]) -> str:
    """One line for a person."""
    programs = ", ".join(names for names, _ in missing)
    return (
        f"missing programs: {programs}; install them: apt-get install -y {' '.join(package for _, package in missing)}"
    )


def require_space(folder: Path, free_bytes: int) -> None:
    if free_bytes < NEEDED_BYTES:
        raise Failure(
            f"only {free_bytes >> 20} MB are free for {folder}, a cluster needs {NEEDED_BYTES >> 20} MB: "
            "free some, or choose another folder by CLUSTERIP_HOME"
        )


def _free_bytes(folder: Path) -> int:
    """What is free on the file system on which the folder is, or will be."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize


def require_ipvs(kind: str, mode: str, is_at_hand: Callable[[str], bool]) -> None:
    """Nodes that share this machine's kernel can do no more than it can."""
    if mode == "ipvs" and kind == NAMESPACE and not is_at_hand("ip_vs"):
        raise Failure(
            "proxy mode ipvs cannot run here: this kernel has no IPVS; load it with: modprobe -a -- ip_vs ip_vs_rr "
            "ip_vs_wrr ip_vs_sh nf_conntrack, or give the nodes a kernel that has it: clusterip up --node-kind uml"
        )


def check(kind: str = NAMESPACE, mode: str = "") -> None:
    """A Failure when a cluster cannot run here."""
    require_root(os.geteuid())
    require_space(home(), _free_bytes(home()))
    if missing := missing_programs(lambda name: shutil.which(name, path=SEARCHED), kind):
        raise Failure(explain(missing))
    require_ipvs(kind, mode, modules.is_at_hand)


def image_hint() -> str | None:
    """What to say when no image was built yet: system parts need none, pods do."""
    if (cache() / "images" / "index.json").exists():
        return None
    return "no images yet: pods of nginx, busybox and the like need them; build them once: clusterip image build"
