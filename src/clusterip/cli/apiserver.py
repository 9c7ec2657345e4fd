"""`clusterip apiserver`: the API server alone, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import socket
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from clusterip.cli import foreground, operation, stores
from clusterip.failure import Failure

if TYPE_CHECKING:
    from clusterip.api.allocation import Ranges
    from clusterip.apiserver.server import Identity
    from clusterip.store.opening import EtcdOptions

DESCRIPTION = "Serve the Kubernetes API over TLS. When it is ready, one line says where and how to reach it."
PREFIX = "/clusterip"  # in etcd
COLLECTION = (20_000, 10, 10)
"""A request makes and frees thousands of small objects, hardly any of them in a circle: looked for rarely."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", action="append", metavar="HOST:PORT", help="address to serve on, repeatable (127.0.0.1:0)"
    )
    parser.add_argument("--listen-fd", action="append", metavar="NAME", help="an inherited listener, repeatable")
    parser.add_argument(
        "--advertise-address", metavar="HOST:PORT", help="where pods reach this server (its first listener)"
    )
    parser.add_argument("--state", metavar="DIR", type=Path, help="folder of keys and store (a temporary one)")
    parser.add_argument(
        "--store", default="sqlite", metavar="KIND", help="sqlite, memory, or etcd=URL[,URL...] (default: sqlite)"
    )
    stores.add_arguments(parser, PREFIX)
    parser.add_argument("--etcd-relay", metavar="SOCKET", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--service-cluster-ip-range", metavar="CIDR", default="10.96.0.0/12")
    parser.add_argument("--node-port-range", "--service-node-port-range", metavar="FROM-TO", default="30000-32767")
    parser.add_argument(
        "--external-host",
        action="append",
        default=[],
        metavar="HOST",
        help="a further name or address for the certificate, repeatable",
    )
    parser.add_argument(
        "--kubeconfig-server", metavar="URL", help="server that the written kubeconfig names (the first listener)"
    )
    parser.add_argument("--enable-admission-plugins", metavar="NAMES", default="", help="beside the usual ones")
    parser.add_argument("--disable-admission-plugins", metavar="NAMES", default="", help="of the usual ones")
    operation.add_arguments(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("-v", "--verbosity", type=int, default=2)


def run(args: argparse.Namespace) -> int:
    from clusterip.transport import log

    log.set_up(args.verbosity)
    gc.disable()  # until it serves: what a start makes stays, and to look through it again and again takes its sixth
    operation.prepare()
    if args.state is not None:
        return _run(args, args.state)
    with TemporaryDirectory(prefix="clusterip-apiserver-") as folder:
        return _run(args, Path(folder))


def _run(args: argparse.Namespace, state: Path) -> int:
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make the state folder {state}: {error.strerror}") from error
    try:
        return foreground.complete(_serve(args, state))
    except OSError as error:
        raise Failure(f"cannot use the state folder {state}: {error}") from error


async def _serve(args: argparse.Namespace, state: Path) -> int:
    from clusterip.apiserver.core import Settings
    from clusterip.apiserver.server import ApiServer, Identity
    from clusterip.store.opening import opened
    from clusterip.transport.listening import split_address, url_of

    ranges = _ranges(args.service_cluster_ip_range, args.node_port_range)
    sockets = _listeners(args)
    url = args.kubeconfig_server or url_of(sockets[0])
    advertise = split_address(args.advertise_address or url.removeprefix("https://"))
    stop = asyncio.Event()
    foreground.on_signals(stop.set)
    operation.follow_parent(args, stop.set)
    identity = Identity.kept(state / "pki", _hosts(sockets, advertise[0], ranges, args.external_host))
    run_as = operation.operation_of(args)
    async with opened(args.store, state, _etcd_options(args)) as store:
        settings = Settings(ranges=ranges, advertise=advertise, admission=_admission(args))
        server = ApiServer(store, identity, settings, operation=run_as)
        async with server.running(sockets):
            _keep_what_is_there()
            _tell(args, state, url, identity)
            await stop.wait()
    if run_as.log is not None:
        run_as.log.close()
    return 0


def _listeners(args: argparse.Namespace) -> list[socket.socket]:
    """Those that were inherited, and those of this process; one on loopback when none is asked for."""
    from clusterip.transport.listening import bind, inherited

    addresses = args.listen if args.listen is not None or args.listen_fd else ["127.0.0.1:0"]
    return [inherited(name) for name in args.listen_fd or ()] + [bind(address) for address in addresses or ()]


def _keep_what_is_there() -> None:
    """What the start made lives as long as the process; only what comes after it is looked through."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(*COLLECTION)


def _tell(args: argparse.Namespace, state: Path, url: str, identity: Identity) -> None:
    """The way in: a kubeconfig, and a line on standard output."""
    from clusterip.transport.kubeconfig import kubeconfig

    path = state / "kubeconfig"
    if not args.listen_fd or not path.exists():  # inside a cluster the file is the cluster's
        _write(path, kubeconfig(url, identity.authority.certificate, token=identity.token))
    _announce(args.output, url, identity.token, state / "pki" / "ca.crt", path)


def _admission(args: argparse.Namespace) -> frozenset[str]:
    """The admission plugins that are on."""
    from clusterip.apiserver import plugins

    try:
        found = plugins.chosen(args.enable_admission_plugins, args.disable_admission_plugins)
    except ValueError as error:
        raise Failure(str(error)) from None
    if idle := plugins.without_effect(found):
        print(f"clusterip: admission plugins that are not here and do nothing: {', '.join(idle)}", file=sys.stderr)
    return found


def _write(path: Path, content: bytes) -> None:
    """The administrator's kubeconfig; on a disk that takes nothing a former one stays."""
    from clusterip.apiserver.server import NO_ROOM
    from clusterip.transport.kubeconfig import write_kubeconfig

    try:
        write_kubeconfig(path, content)
    except OSError as error:
        if error.errno not in NO_ROOM or not path.exists():
            raise
        print(f"clusterip: {path} is of a former start: {error.strerror}", file=sys.stderr)


def _etcd_options(args: argparse.Namespace) -> EtcdOptions:
    from clusterip.store.opening import EtcdOptions

    return EtcdOptions(
        authority=args.etcd_cafile,
        certificate=args.etcd_certfile,
        key=args.etcd_keyfile,
        prefix=args.etcd_prefix or PREFIX,
        relay=args.etcd_relay,
    )


def _announce(form: str, url: str, token: str, ca: Path, kubeconfig: Path) -> None:
    if form == "json":
        line = json.dumps(
            {"url": url, "token": token, "ca": str(ca.absolute()), "kubeconfig": str(kubeconfig.absolute())}
        )
    else:
        line = f"Kubernetes API at {url}\n  export KUBECONFIG={kubeconfig.absolute()}"
    print(line, flush=True)
    if sys.stdout.closed:
        raise Failure("nobody reads the output")


def _ranges(cidrs: str, ports: str) -> Ranges:
    from clusterip.api.allocation import Ranges

    try:
        networks = tuple(ip_network(cidr.strip()) for cidr in cidrs.split(","))
    except ValueError as error:
        raise Failure(f"--service-cluster-ip-range {cidrs}: {error}") from error
    first, _, last = ports.partition("-")
    if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
        raise Failure(f"--node-port-range {ports}: write it as 30000-32767")
    return Ranges(networks, range(int(first), int(last) + 1))


def _hosts(sockets: list[socket.socket], advertise: str, ranges: Ranges, more: list[str]) -> list[str]:
    from clusterip.apiserver.server import NAMES

    hosts = [*NAMES, "127.0.0.1", "::1", advertise, str(ranges.networks[0][1]), *more]
    hosts += [sock.getsockname()[0] for sock in sockets]
    return [host for host in hosts if host and not _is_wildcard(host)]


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
