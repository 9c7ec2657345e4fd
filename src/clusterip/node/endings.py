"""How an attempt ended: the reason, and its last words.

Stage: read.  In: exit code, control group, the attempt's files.  Out: reason and message of a terminated state.
Rules: reads only; whatever cannot be read is simply not said.
Truth: core/v1 ContainerStateTerminated, terminationMessagePolicy; kernel memory.oom_control and memory.events.
"""

from __future__ import annotations

from pathlib import Path

from clusterip.kernel.cgroup import Cgroups
from clusterip.node.model import Container

MESSAGE_LIMIT = 4096
LOG_TAIL_BYTES = 2048
LOG_TAIL_LINES = 80
TERMINATION_LOG = "termination-log"


def exit_reason(code: int | None, cgroups: Cgroups | None, group: str) -> str:
    """Completed, OOMKilled, Error, or that nobody knows."""
    if code is None:
        return "ContainerStatusUnknown"
    if code == 0:
        return "Completed"
    return "OOMKilled" if code == 137 and cgroups is not None and oom_kills(cgroups, group) else "Error"


def oom_kills(cgroups: Cgroups, group: str) -> int:
    """How often the kernel killed in this group because memory had run out."""
    layout = cgroups.layout
    root = layout.v1.get("memory") or layout.v2
    if root is None:
        return 0
    name = "memory.oom_control" if "memory" in layout.v1 else "memory.events"
    try:
        lines = (root / group.lstrip("/") / name).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def last_words(container: Container, bundle: Path, log: Path, code: int | None) -> str:
    """What the container left in its termination file, or the end of its log when it asks for that."""
    said = _read(bundle / TERMINATION_LOG)[:MESSAGE_LIMIT]
    if not said and code != 0 and container.tree.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        tail = _read(log)[-4 * LOG_TAIL_BYTES :].splitlines()[-LOG_TAIL_LINES:]
        said = "\n".join(line.split(" ", 3)[-1] for line in tail)[-LOG_TAIL_BYTES:]
    return said


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
