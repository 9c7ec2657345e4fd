"""`clusterip demo`: a lesson on the running cluster, with a real kubectl, printed as it happens."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from clusterip.cli.player import Player
from clusterip.cli.transcript import parse
from clusterip.clock import SystemClock
from clusterip.cluster.kubectl import kubectl_path
from clusterip.cluster.state import default_name, running_cluster
from clusterip.failure import Failure

DESCRIPTION = "Play a lesson on the running cluster; its pods and Services stay for you to look at."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=default_name(), help="the cluster (default: clusterip)")
    parser.add_argument("--lesson", default="clusterip", choices=lessons(), help="which lesson (default: clusterip)")


def run(args: argparse.Namespace) -> int:
    """Play a lesson; 0 when every command showed what the lesson shows."""
    clock = SystemClock()
    started = clock.monotonic()
    transcript = parse(lesson_text(args.lesson))
    with tempfile.TemporaryDirectory(prefix="clusterip-demo-") as folder:
        environment = shell_environment(Path(folder), running_cluster(args.name).kubeconfig)
        environment["CLUSTERIP_NAME"] = args.name
        outcome = Player(Path(folder), environment, print_flushed, clock).play(transcript)
    seconds = clock.monotonic() - started
    print_flushed(f"\n{outcome.commands} commands of the lesson, {len(outcome.failures)} differences, {seconds:.1f} s.")
    if outcome.failures:
        raise Failure(f"the lesson differs: {outcome.failures[0].splitlines()[0]} (see the lines marked !! above)")
    print_flushed("The cluster stays up: `clusterip kubectl get all`, `clusterip shell node-1`, `clusterip down`.")
    return 0


def lessons() -> list[str]:
    """The lessons' names."""
    return sorted(
        p.name.removesuffix(".txt") for p in files("clusterip.cli.lessons").iterdir() if p.name.endswith(".txt")
    )


def lesson_text(name: str) -> str:
    """A lesson's transcript."""
    return files("clusterip.cli.lessons").joinpath(f"{name}.txt").read_text()


def shell_environment(folder: Path, kubeconfig: Path) -> dict[str, str]:
    """What a lesson's shell has beyond ours: kubectl and clusterip by name, and the cluster's administrator."""
    programs = folder / ".bin"
    programs.mkdir(exist_ok=True)
    link = programs / "kubectl"
    link.unlink(missing_ok=True)
    link.symlink_to(kubectl_path())
    return {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}",
        "KUBECONFIG": str(kubeconfig),
    }


def print_flushed(text: str) -> None:
    print(text, flush=True)
