"""A node whose network is a User Mode Linux guest, as values: the guest, the node's files for it, the agent's options.

Stage: plan.  In: a `Machine` of kind uml.  Out: what parts.py and machines.py add for it.
Rules: the guest's root is the node's own: what a user installs on the node, the guest has.
Truth: docs/architecture.md, "Nodes with a kernel of their own".
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import clusterip
from clusterip.cluster import umlinit, umlnet
from clusterip.cluster.folder import Folder, write_whole
from clusterip.cluster.topology import Machine
from clusterip.kernel import uml

MEMORY = "256M"  # a limit: pages are taken when they are used; kubectl alone is 60 MB of them
INIT = "/usr/local/lib/clusterip/guest-init"
TOKEN_FILE = "/etc/clusterip/gate.token"
INIT_SCRIPT = """\
#!/bin/sh
export PATH={path} HOME=/root LANG=C.UTF-8 PYTHONPATH={source} PYTHONDONTWRITEBYTECODE=1
exec {python} -P -m clusterip.cluster.umlinit
"""
IPTABLES = tuple((name, tail) for name in ("iptables", "ip6tables") for tail in ("", "-save", "-restore"))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def guest(machine: Machine) -> uml.Guest:
    """The node's kernel."""
    wires = umlnet.wiring(machine)
    return uml.Guest(
        name=machine.name,
        init=INIT,
        folder=Path(umlinit.UML_FOLDER),
        memory=MEMORY,
        writable=True,
        consoles={0: "null,fd:1"},
        vectors=(uml.Vector(umlnet.UPLINK, wires.eth0_mac), uml.Vector(umlnet.WIRE, wires.pods0_mac)),
    )


def token(folder: Folder) -> str:
    """What opens the gates of this cluster's guests."""
    path = folder.pki / "gate.token"
    if not path.exists():
        write_whole(path, secrets.token_hex(32), 0o600)
    return path.read_text()


def files(folder: Folder, machine: Machine) -> dict[str, tuple[str, int]]:
    """What the guest reads when it boots, and the agent to reach it."""
    plan = umlinit.GuestPlan(
        name=machine.name, wiring=umlnet.wiring(machine), token=token(folder), sysctls=machine.sysctls
    )
    source = str(Path(clusterip.__file__).parent.parent)
    script = INIT_SCRIPT.format(path=PATH, source=source, python=sys.executable)
    return {
        umlinit.PLAN: (plan.to_json(), 0o600),
        TOKEN_FILE: (plan.token, 0o600),
        INIT: (script, 0o755),
    }


def links() -> dict[str, str]:
    """modprobe looks below /lib/modules; a kernel without nftables has its iptables by the plain names."""
    versions = os.listdir(uml.MODULES) if uml.MODULES.is_dir() else []
    modules = {f"/lib/modules/{version}": str(uml.MODULES / version) for version in versions}
    programs = {f"/etc/alternatives/{name}{tail}": f"/usr/sbin/{name}-legacy{tail}" for name, tail in IPTABLES}
    return modules | programs


def agent_options(machine: Machine) -> tuple[str, ...]:
    """How the agent lives beside the guest."""
    return (f"--gate={machine.ip}", f"--gate-token={TOKEN_FILE}")
