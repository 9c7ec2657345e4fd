"""User Mode Linux: a Linux kernel that runs as a process, on the host's own files, with modules that the host has not.

Stage: kernel.  In: `Guest`.  Out: the command line that boots it; what of it the machine lacks.
Rules: a guest's root is hostfs: the files of the mount namespace in which the program was started.  A guest's console
lines are descriptors of that program.  It is the first process of a PID namespace: its kernel threads and its user
space are processes of the host, and whoever kills the first kills all.
Truth: Documentation/virt/uml/user_mode_linux_howto_v2.rst; Debian's package user-mode-linux (linux.uml(1)).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = "linux.uml"
PACKAGE = "user-mode-linux"
MODULES = Path("/usr/lib/uml/modules")
ALONE = ("unshare", "--pid", "--fork", "--kill-child")  # first in a PID namespace, and ended with this process
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Vector:
    """A network device of a guest: it sends and receives frames on one of the host's links, under its own address."""

    link: str
    mac: str


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A guest to be booted.

    consoles are the channels of its terminals by number, as UML writes them ("fd:0,fd:1", "null"); vectors become vec0,
    vec1, ...; words go to its init.
    """

    name: str
    init: str
    folder: Path  # UML keeps its pid file and its control socket here
    memory: str = "96M"
    writable: bool = False
    consoles: Mapping[int, str] = field(default_factory=dict)
    vectors: tuple[Vector, ...] = ()
    words: tuple[str, ...] = ()


def command_line(guest: Guest) -> tuple[str, ...]:
    """What boots the guest; whoever ends this process ends all that the guest is."""
    vectors = (f"vec{n}:transport=raw,ifname={v.link},mac={v.mac},gro=1" for n, v in enumerate(guest.vectors))
    consoles = (f"con{n}={channel}" for n, channel in sorted(guest.consoles.items()))
    return (
        *ALONE,
        PROGRAM,
        "rootfstype=hostfs",
        "rw" if guest.writable else "ro",
        f"mem={guest.memory}",
        f"umid={guest.name}",
        f"uml_dir={guest.folder}",
        "con=null",
        *consoles,
        *vectors,
        "quiet",
        f"init={guest.init}",
        *(("--", *guest.words) if guest.words else ()),
    )


def missing() -> str | None:
    """What has to be installed before a guest can boot here, as one line; None when all is there."""
    if shutil.which(PROGRAM, path=PATH) is None or not MODULES.is_dir():
        return f"no {PROGRAM} here; install it: apt-get install {PACKAGE}"
    return None
