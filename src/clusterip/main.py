"""The `clusterip` command: find the module of a command and run it.

Rules: a command's module is imported only when it is asked for, since the command line is called in loops.
Exit codes: 0 done, 1 failed with one line that says what, why and what to do, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from clusterip import __version__
from clusterip.failure import Failure
from clusterip.transport import crilog

# command -> (module, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("clusterip.cli.up", "start a cluster"),
    "down": ("clusterip.cli.down", "stop a cluster and remove all that it made"),
    "status": ("clusterip.cli.status", "say what runs"),
    "doctor": ("clusterip.cli.doctor", "find what is wrong with Services, in any cluster"),
    "explain": ("clusterip.cli.explain", "walk a packet to a Service, hop by hop"),
    "backup": ("clusterip.cli.backup", "save all objects in one file"),
    "restore": ("clusterip.cli.restore", "put a backup in a store's place"),
    "kubeconfig": ("clusterip.cli.kubeconfig", "print the administrator's kubeconfig"),
    "kubectl": ("clusterip.cli.kubectl", "run kubectl against a cluster"),
    "shell": ("clusterip.cli.shell", "a shell on a node, or on a machine of the LAN"),
    "demo": ("clusterip.cli.demo", "the ClusterIP lesson, on the running cluster"),
    "image": ("clusterip.cli.image", "build, list and load images"),
    "apiserver": ("clusterip.cli.apiserver", "the API server alone"),
    "controllers": ("clusterip.cli.controllers", "the controllers and the scheduler, against any Kubernetes API"),
    "proxy": ("clusterip.cli.proxy", "kube-proxy, against any Kubernetes API"),
    "policy": ("clusterip.cli.policy", "NetworkPolicies, against any Kubernetes API"),
    "dns": ("clusterip.cli.dns", "cluster DNS, against any Kubernetes API"),
    "loadbalancer": ("clusterip.cli.loadbalancer", "addresses for Services (MetalLB's controller), against any API"),
    "speaker": ("clusterip.cli.speaker", "a load balancer's addresses on the LAN (MetalLB's speaker), against any API"),
    "ingress": ("clusterip.cli.ingress", "Ingresses by HAProxy, against any Kubernetes API"),
    "node": ("clusterip.cli.node", "a node agent, against any Kubernetes API"),
}


# programs of other images that are parts of ours
ALIASES = {"/controller": "loadbalancer", "/speaker": "speaker", "/nginx-ingress-controller": "ingress"}


def main(argv: Sequence[str]) -> int:
    """Run one command; the exit code."""
    argv = [ALIASES.get(word, word) for word in argv[:1]] + list(argv[1:])
    crilog.install(os.environ)
    parser = argparse.ArgumentParser(prog="clusterip", description="Kubernetes Services on one machine, for real.")
    parser.add_argument("--version", action="version", version=f"clusterip {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in argv if word in COMMANDS), None)
    for name, (module, text) in COMMANDS.items():
        if name != chosen:
            subparsers.add_parser(name, help=text)
            continue
        command = importlib.import_module(module)
        sub = subparsers.add_parser(name, help=text, description=command.DESCRIPTION)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    args = parser.parse_args(argv)
    return int(args.run(args))


def console() -> None:
    """The entry point: what went wrong is one line on stderr."""
    try:
        sys.exit(main(sys.argv[1:]))
    except Failure as failure:
        print(f"clusterip: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    console()
