"""Sysctls by their dotted names.

Stage: kernel.  In: names and values.  Out: /proc/sys of the calling thread's namespaces.
Rules: a name's dots are slashes; an interface name with a dot in it is given with a slash ("net/ipv4/conf/eth0.5/...").
Truth: sysctl.d(5), kernel Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ROOT = Path("/proc/sys")


def path_of(name: str) -> Path:
    """Where the kernel shows the setting."""
    return ROOT / (name if "/" in name else name.replace(".", "/"))


def read(name: str) -> str:
    """The value now; FileNotFoundError when this kernel (or namespace) has no such setting."""
    return path_of(name).read_text().strip()


def write(name: str, value: str | int) -> None:
    """Set it."""
    path_of(name).write_text(str(value))


def apply(values: Mapping[str, str | int]) -> dict[str, str]:
    """Set all; what the kernel refused, by name, with its reason (a namespace may lack some settings)."""
    refused = {}
    for name, value in values.items():
        try:
            write(name, value)
        except OSError as error:
            refused[name] = error.strerror or str(error)
    return refused
