"""The first process of a guest: makes a node of a kernel that has just begun, and stays to reap and restart.

Stage: commit.  In: the node's plan as JSON, on the node's own files (hostfs).  Out: its network, a zygote, a gate.
Rules: the network is there first, since the node's agent reaches the world through it; imports come after.  Nothing is
kept here: a guest that was killed begins anew and finds the same files.  As the first process it may not end.
Truth: docs/architecture.md, "Nodes with a kernel of their own"; kernel/gate.py; cluster/umlnet.py.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from clusterip.cluster import umlnet
from clusterip.cluster.topology import PlannedRoute
from clusterip.kernel import mount, process, sysctl

PLAN = "/etc/clusterip/guest.json"
UML_FOLDER = "/run/clusterip/uml"
ZYGOTE_SOCKET = "/dev/shm/zygote.sock"
MODULES = ("ipv6", "nf_conntrack", "iptable_nat", "iptable_filter", "iptable_mangle")
PRELOADED = (
    "encodings.idna",
    "uvloop",
    "clusterip.main",
    "clusterip.cli.proxy",
    "clusterip.cluster.umlgate",
    "clusterip.cluster.zygote",
)
PRELOADED_PACKAGES = ("clusterip.proxy", "clusterip.proxy.backends")  # modes are imported when they are chosen
AGAIN_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class GuestPlan:
    """What a guest is told."""

    name: str
    wiring: umlnet.Wiring
    token: str
    sysctls: Mapping[str, str]

    def to_json(self) -> str:
        wires = self.wiring
        routes = [[str(route.destination), str(route.via) if route.via else None] for route in wires.routes]
        tree = {"node": str(wires.node), "prefix": wires.prefix, "pods": str(wires.pods), "routes": routes}
        return json.dumps({"name": self.name, "token": self.token, "sysctls": dict(self.sysctls), "wiring": tree})

    @classmethod
    def from_json(cls, text: str) -> GuestPlan:
        tree: dict[str, Any] = json.loads(text)
        wires = tree["wiring"]
        routes = tuple(PlannedRoute(IPv4Network(to), IPv4Address(via) if via else None) for to, via in wires["routes"])
        wiring = umlnet.Wiring(IPv4Address(wires["node"]), wires["prefix"], IPv4Network(wires["pods"]), routes)
        return cls(name=tree["name"], wiring=wiring, token=tree["token"], sysctls=tree["sysctls"])


def say(text: str) -> None:
    """A line on the console, which is the guest's log."""
    sys.stdout.write(f"guest: {text}\n")
    sys.stdout.flush()


# -- the machine ------------------------------------------------------------------------------------------------------


def mount_own() -> None:
    """What shows the kernel, and what holds sockets: those cannot be shared with the host's kernel."""
    safe = mount.NOSUID | mount.NODEV | mount.NOEXEC
    mount.mount("proc", "/proc", "proc", safe)
    mount.mount("sysfs", "/sys", "sysfs", safe)
    for path in ("/dev/pts", "/dev/shm"):
        os.makedirs(path, exist_ok=True)
    mount.mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666,mode=0620,gid=5")
    mount.mount("tmpfs", "/dev/shm", "tmpfs", mount.NOSUID | mount.NODEV)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        with contextlib.suppress(FileExistsError):
            os.symlink(target, f"/dev/{name}")


def become_node(plan: GuestPlan) -> None:
    """Name, modules, settings, network."""
    process.sethostname(plan.name)
    subprocess.run(["modprobe", "-a", "-q", *MODULES], check=False)
    for name, reason in sysctl.apply(plan.sysctls).items():
        say(f"sysctl {name}: {reason}")
    umlnet.configure(plan.wiring)


# -- what runs --------------------------------------------------------------------------------------------------------


def _zygote(door: socket.socket) -> None:
    from clusterip.cluster import zygote

    main = importlib.import_module("clusterip.main").main  # by name: main is above this layer
    process.set_name("zygote")
    zygote.carry_out(zygote.serve(door), main)


def _gate(plan: GuestPlan, door: socket.socket) -> None:
    import asyncio

    import uvloop

    from clusterip.cluster.umlgate import GateServer

    door.close()
    process.set_name("gate")
    gc.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(GateServer(plan.token, ZYGOTE_SOCKET).serve(str(plan.wiring.node)))


def _fork(body: Callable[[], None]) -> int:
    if (pid := os.fork()) != 0:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        body()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def keep(plan: GuestPlan) -> None:
    """Keep zygote and gate; reap whatever is left to the first process.

    The zygote's door stays open all the time: what the gate asks while there is no zygote waits for the next one.
    """
    from clusterip.cluster import zygote

    door = zygote.open_door(ZYGOTE_SOCKET)
    bodies = {"zygote": partial(_zygote, door), "gate": partial(_gate, plan, door)}
    running = {_fork(body): name for name, body in bodies.items()}
    while True:
        with contextlib.suppress(ChildProcessError):
            ended, _ = os.wait()
            if ended in running:
                name = running.pop(ended)
                say(f"{name} ended; starting another")
                time.sleep(AGAIN_SECONDS)
                running[_fork(bodies[name])] = name


def modules_of(packages: Iterable[str]) -> list[str]:
    """The modules of the packages, by name."""
    found = []
    for package in packages:
        path = importlib.import_module(package).__path__
        found += [module.name for module in pkgutil.iter_modules(path, f"{package}.")]
    return found


def main() -> None:
    """Be the guest's first process."""
    began = time.monotonic()
    mount_own()
    # of this boot: one that is killed would leave it, in the next one's way
    shutil.rmtree(UML_FOLDER, ignore_errors=True)
    plan = GuestPlan.from_json(Path(PLAN).read_text())
    become_node(plan)
    say(f"network after {time.monotonic() - began:.2f} s")
    for name in (*PRELOADED, *modules_of(PRELOADED_PACKAGES)):
        try:
            importlib.import_module(name)
        except Exception as error:
            say(f"cannot import {name}: {error}")
    gc.collect()
    gc.disable()  # a collection would touch, and so copy, the pages that all share
    gc.freeze()
    say(f"ready after {time.monotonic() - began:.2f} s")
    keep(plan)


if __name__ == "__main__":
    main()
