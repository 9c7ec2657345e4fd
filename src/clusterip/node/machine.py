"""What this process may do on its machine: capabilities and control groups.

Stage: read.  In: /proc, /sys/fs/cgroup.  Out: names of capabilities; usable control groups, or why there are none.
Rules: what cannot be had is reported, never a failure.
Truth: capabilities(7); even root may lack CAP_SYS_RESOURCE in a virtual machine.
"""

from __future__ import annotations

from pathlib import Path

from clusterip.kernel.cgroup import Cgroups

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip


def capability_names(mask: int) -> frozenset[str]:
    """The names of a mask's bits, in the kernel's order."""
    return frozenset(f"CAP_{name}" for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1)


def own_capabilities() -> frozenset[str]:
    """What this process can hand on to containers."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return capability_names(int(line.split()[1], 16))
    return frozenset()


def usable_cgroups(parent: str) -> tuple[Cgroups | None, str]:
    """The control groups below parent, or why none can be had."""
    groups = Cgroups()
    if groups.layout.kind == "none":
        return None, "no control groups are mounted: limits of containers are not enforced"
    try:
        groups.create(parent)
    except OSError as error:
        return None, f"cannot make control group {parent} ({error.strerror}): limits of containers are not enforced"
    return groups, ""
