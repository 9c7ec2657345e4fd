"""`clusterip proxy`: kube-proxy for one node, against any Kubernetes API."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from clusterip.api.yaml import dump
from clusterip.cli import foreground
from clusterip.client.config import ServerConfig, from_kubeconfig, in_cluster
from clusterip.failure import Failure
from clusterip.proxy import flags, process, switch
from clusterip.proxy.config import API_VERSION, KIND, KubeProxyConfiguration, parse, to_tree
from clusterip.proxy.model import Family
from clusterip.proxy.modes import MODES
from clusterip.proxy.resolve import service_networks
from clusterip.transport import log

DESCRIPTION = "Program this node's kernel for Services until SIGTERM; the rules stay when it ends."
DEFAULTS = f"apiVersion: {API_VERSION}\nkind: {KIND}\n"
DEFAULT_VERBOSITY, DEBUG_VERBOSITY = 2, 4
CAP_NET_ADMIN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1)")
    parser.add_argument("--master", default="", metavar="URL", help="the API, in place of the kubeconfig's")
    parser.add_argument(
        "--service-cluster-ip-range",
        default="",
        metavar="CIDRS",
        help="drop what is sent to addresses of these networks that no Service has",
    )
    parser.add_argument("--cleanup", action="store_true", help="remove the rules of all modes and end")
    parser.add_argument("--init-only", action="store_true", help="do what needs full root, and end")
    parser.add_argument("--write-config-to", metavar="FILE", help="write the configuration there and end")
    parser.add_argument("-v", "--v", type=int, metavar="LEVEL", help="verbosity of the log (default: 2)")
    flags.add_to(parser)


def run(args: argparse.Namespace) -> int:
    config = _read(args)
    if args.write_config_to:
        return _write(config, args.write_config_to)
    _check_rights()
    if args.cleanup:
        return asyncio.run(_clean_up())
    networks = service_networks(args.service_cluster_ip_range)
    _set_up_log(config, args.v)
    if args.init_only:
        asyncio.run(process.initialize(config))
        return 0
    name = (config.hostname_override or socket.gethostname()).strip().lower()
    file = Path(args.config) if args.config else None
    foreground.run(process.serve(process.Settings(_server(config, args.master), config, name, networks, file)))
    return 0


def _set_up_log(config: KubeProxyConfiguration, given: int | None) -> None:
    """Verbosity by the flag, then the file; vmodule gives single files more."""
    verbosity = config.logging.verbosity or DEFAULT_VERBOSITY if given is None else given
    loud = [found.file_pattern for found in config.logging.vmodule if found.verbosity >= DEBUG_VERBOSITY]
    log.set_up(DEBUG_VERBOSITY if loud else verbosity)
    if not loud or verbosity >= DEBUG_VERBOSITY:
        return

    def is_shown(record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG or any(fnmatchcase(record.module, pattern) for pattern in loud)

    for handler in logging.getLogger().handlers:
        handler.addFilter(is_shown)


def _read(args: argparse.Namespace) -> KubeProxyConfiguration:
    given = flags.given(args)
    if args.config is None:
        return parse(DEFAULTS, "the command line" if given else "the default configuration", given)
    try:
        text = Path(args.config).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {args.config}: {error}") from error
    return parse(text, args.config, given)


def _write(config: KubeProxyConfiguration, path: str) -> int:
    try:
        Path(path).write_text(dump(to_tree(config)))
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}")
    return 0


def _check_rights() -> None:
    """Root, or what of root's rights is needed."""
    status = Path("/proc/self/status").read_text()
    effective = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    if os.geteuid() != 0 and not effective >> CAP_NET_ADMIN & 1:
        raise Failure("programming the kernel needs root (or a user namespace of one's own: unshare -rn)")


def _server(config: KubeProxyConfiguration, master: str) -> ServerConfig:
    path = config.client_connection.kubeconfig
    if not path:
        return ServerConfig(url=master) if master else in_cluster()
    found = from_kubeconfig(path)
    return replace(found, url=master) if master else found


async def _clean_up() -> int:
    """All modes, both families."""
    if wrong := await switch.remove(MODES, Family):
        raise Failure(f"not everything could be removed: {'; '.join(wrong)}")
    return 0
