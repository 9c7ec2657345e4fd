"""One User Mode Linux guest that runs one command on this machine's files, and ends with it.

The guest sees the host's root read-only below a file system of its own: what the command writes is gone with it.  Its
kernel has what the host's may lack: IPVS, ip sets, legacy iptables.

For development, from the root of the repository:

    PYTHONPATH=tests:src .venv/bin/python -m uml.guest -- CMD ARGS...
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clusterip.kernel import uml

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NEEDED = {"modprobe": "kmod", "ipvsadm": "ipvsadm", "ipset": "ipset", "iptables-legacy": "iptables", "ip": "iproute2"}
ENVIRONMENT = {"PYTHONPATH": f"{HERE.parent}:{ROOT / 'src'}", "PYTHONDONTWRITEBYTECODE": "1", "CLUSTERIP_GUEST": "1"}
ENVIRONMENT |= {name: os.environ[name] for name in ("CI", "CLUSTERIP_SOAK") if name in os.environ}


class GuestFailed(Exception):
    """No guest, or it ended before its command did; the text has the console's last lines."""


@dataclass(frozen=True)
class Done:
    """How the command ended, what it wrote, and what it left in its folder (/run/host in the guest)."""

    exit: int
    output: str


def missing() -> str | None:
    """What has to be installed first."""
    packages = sorted(name for program, name in NEEDED.items() if shutil.which(program, path=uml.PATH) is None)
    return uml.missing() or (
        f"install what the guest needs: apt-get install {' '.join(packages)}" if packages else None
    )


def run(
    command: Sequence[str],
    folder: Path,
    *,
    seconds: float = 600,
    memory: str = "384M",
    environment: Mapping[str, str] = ENVIRONMENT,
    passing: bool = False,
) -> Done:
    """Boot a guest and run the command in it, in the repository's root; with passing its output goes to ours."""
    if lacking := missing():
        raise GuestFailed(lacking)
    variables = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    (folder / "command").write_text(f"cd {shlex.quote(str(ROOT))}\n{variables}{shlex.join(command)}\n")
    guest = uml.Guest(
        name="tests",
        init=str(HERE / "init.sh"),
        folder=folder,
        memory=memory,
        consoles={0: "null,fd:2", 1: "null,fd:1"},
        words=(str(folder), str(int(seconds))),
    )
    with open(folder / "console", "wb") as console, open(folder / "output", "wb") as output:
        ended = _boot(uml.command_line(guest), None if passing else output.fileno(), console.fileno(), seconds + 60)
    text = (folder / "output").read_text(errors="replace")
    code = folder / "exit"
    if not code.exists():
        told = [
            path.read_text(errors="replace") for name in ("console", "processes") if (path := folder / name).exists()
        ]
        raise GuestFailed("\n".join((f"the guest {ended} before its command did", text[-4000:], *told)))
    return Done(int(code.read_text()), text)


def _boot(words: Sequence[str], output: int | None, console: int, seconds: float) -> str:
    """Run the guest to its end, or end it; how it ended.  Should this process be killed, the guest is too."""
    ended, held = os.pipe()
    process = subprocess.Popen(
        ("setpriv", "--pdeathsig", "KILL", *words),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=console,
        env={"PATH": uml.PATH, "HOME": "/root"},
        pass_fds=(held,),
        start_new_session=True,
    )
    os.close(held)
    try:
        return f"ended with {process.wait(seconds)}"
    except subprocess.TimeoutExpired:
        return f"was ended after {seconds:.0f} s"
    finally:
        process.kill()
        process.wait()
        os.read(ended, 1)  # returns when the last process of the guest is gone: each holds the other end
        os.close(ended)


def main() -> int:
    """`python -m uml.guest -- CMD`: the command's output and exit code are ours."""
    words = sys.argv[1:]
    command = words[1:] if words[:1] == ["--"] else words
    with tempfile.TemporaryDirectory(prefix="clusterip-guest-") as name:
        try:
            return run(command, Path(name), passing=True).exit
        except GuestFailed as error:
            print(error, file=sys.stderr)
            return os.EX_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main())
