"""`clusterip shell`: a shell, or one command, on a node or on a machine of the LAN."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from clusterip.cli.passing import split_name, take_all
from clusterip.cluster.config import UML
from clusterip.cluster.folder import Folder
from clusterip.cluster.launch import PATH
from clusterip.cluster.machines import anchor_name, open_namespaces
from clusterip.cluster.state import default_name, running_cluster
from clusterip.cluster.topology import LAN, topology
from clusterip.cluster.umlnode import token
from clusterip.failure import Failure
from clusterip.kernel import process
from clusterip.kernel.gate import Gate

DESCRIPTION = """Open a shell on a node, or run a command there. Without a node it is a machine of the LAN, outside the
cluster. `--name CLUSTER` in front chooses the cluster."""

KEPT = ("TERM", "LANG", "LC_ALL", "COLORTERM", "NO_COLOR", "TZ")
NOT_FOUND, NOT_EXECUTABLE = 127, 126


@dataclass(frozen=True)
class Wanted:
    """Where, and what."""

    cluster: str
    machine: str
    command: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    take_all(parser, "[--name CLUSTER] [NODE] [-- CMD...]")


def parse(words: Sequence[str], default: str) -> Wanted:
    """[--name CLUSTER] [NODE] [-- CMD...]"""
    name, rest = split_name(words, default)
    before, command = rest, list[str]()
    if "--" in rest:
        at = rest.index("--")
        before, command = rest[:at], rest[at + 1 :]
    if len(before) > 1 or any(word.startswith("-") for word in before):
        raise Failure(f"cannot read {' '.join(before)!r}: use clusterip shell [--name CLUSTER] [NODE] [-- CMD...]")
    return Wanted(name, before[0] if before else LAN, tuple(command))


def run(args: argparse.Namespace) -> int:
    if args.rest[:1] in (["-h"], ["--help"]):
        print(f"usage: clusterip shell [--name CLUSTER] [NODE] [-- CMD...]\n\n{DESCRIPTION}")
        return 0
    wanted = parse(args.rest, default_name())
    folder = running_cluster(wanted.cluster)
    door = gate_of(folder, wanted.machine)
    _enter(folder, wanted.machine)
    command = wanted.command or (_shell(), "-i" if sys.stdin.isatty() else "-s")
    if door is None:
        return _become(command)
    from clusterip.cli.distance import run_there  # asyncio is not needed on the other machines

    return run_there(door, command, _environment(), "/root")


def _enter(folder: Folder, machine: str) -> None:
    """Move this process to the machine."""
    anchor = folder.living().get(anchor_name(machine))
    if anchor is None:
        raise Failure(f"no machine {machine} in cluster {folder.name}: there are {', '.join(_machines(folder))}")
    try:
        spaces = open_namespaces(anchor.pid)
        for fd, kind in (
            (spaces.uts, process.CLONE_NEWUTS),
            (spaces.net, process.CLONE_NEWNET),
            (spaces.mnt, process.CLONE_NEWNS),
        ):
            process.setns(fd, kind)
        spaces.close()
    except PermissionError as error:
        raise Failure("entering a machine needs root: run it as root, as in `sudo clusterip shell`") from error
    os.chdir("/root" if os.path.isdir("/root") else "/")


def _machines(folder: Folder) -> list[str]:
    return [name.removesuffix("/anchor") for name in folder.living() if name.endswith("/anchor")]


def _shell() -> str:
    return next(
        (path for path in (os.environ.get("SHELL"), "/bin/bash") if path and os.access(path, os.X_OK)), "/bin/sh"
    )


def gate_of(folder: Folder, machine: str) -> Gate | None:
    """The gate of the guest that is the machine's network; None for a machine of this kernel."""
    config = folder.config()
    if config is None or config.node_kind != UML or machine not in config.nodes:
        return None
    return Gate(str(topology(config).machine(machine).ip), token(folder))


def _environment() -> dict[str, str]:
    """What the command finds around itself."""
    fixed = {"PATH": PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": _shell()}
    return fixed | {name: os.environ[name] for name in KEPT if name in os.environ}


def _become(command: Sequence[str]) -> int:
    """Run the command in this process's place: its terminal and its exit code are ours."""
    sys.stdout.flush()
    try:
        os.execvpe(command[0], list(command), _environment())
    except FileNotFoundError:
        print(f"clusterip: {command[0]}: no such program on the machine", file=sys.stderr)
        return NOT_FOUND
    except OSError as error:
        print(f"clusterip: {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_EXECUTABLE
