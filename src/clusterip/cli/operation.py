"""How an API server is run: what it lets in at once, what it writes down, and when it ends by itself."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from clusterip.failure import Failure

if TYPE_CHECKING:
    from clusterip.apiserver.auditlog import AuditLog
    from clusterip.apiserver.traffic import Operation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-requests-inflight", metavar="N", type=int, default=400, help="reading requests at once (%(default)s)"
    )
    parser.add_argument(
        "--max-mutating-requests-inflight",
        metavar="N",
        type=int,
        default=200,
        help="writing requests at once (%(default)s)",
    )
    parser.add_argument(
        "--enable-priority-and-fairness",
        choices=("true", "false"),
        default="true",
        help="share turns by FlowSchemas; false: first come, first served (%(default)s)",
    )
    parser.add_argument("--audit-policy-file", metavar="FILE", type=Path, help="audit.k8s.io/v1 Policy")
    parser.add_argument("--audit-log-path", metavar="FILE", help="where audit events go, - is standard output")
    parser.add_argument("--audit-log-format", choices=("json",), default="json")
    for name, text in (
        ("maxage", "days that old audit logs are kept (0: no limit)"),
        ("maxbackup", "old audit logs that are kept (0: all)"),
        ("maxsize", "megabytes of an audit log (100)"),
    ):
        usual = 100 if name == "maxsize" else 0
        parser.add_argument(f"--audit-log-{name}", metavar="N", type=int, default=usual, help=text)
    parser.add_argument(
        "--exit-with-parent",
        metavar="PID",
        nargs="?",
        type=int,
        const=0,
        help="end when the process that started this (its number may be given) ends",
    )


def operation_of(args: argparse.Namespace) -> Operation:
    """What the arguments ask for; an audit log among it is open."""
    from clusterip.apiserver.traffic import Operation

    for name in ("max_requests_inflight", "max_mutating_requests_inflight"):
        if getattr(args, name) < 0:
            raise Failure(f"--{name.replace('_', '-')} {getattr(args, name)}: it cannot be less than nothing")
    fair, log = args.enable_priority_and_fairness == "true", _audit_log(args)
    if log is None:
        return Operation(args.max_requests_inflight, args.max_mutating_requests_inflight, fair)
    from clusterip.apiserver.audit import read_policy

    policy = read_policy(args.audit_policy_file)
    log.open()
    return Operation(args.max_requests_inflight, args.max_mutating_requests_inflight, fair, policy, log)


def _audit_log(args: argparse.Namespace) -> AuditLog | None:
    if not args.audit_log_path:
        return None
    if args.audit_policy_file is None:
        raise Failure("--audit-log-path needs an --audit-policy-file that says what is written")
    if args.audit_log_path == "-" and args.output == "json":
        raise Failure("--audit-log-path -: standard output is for the one line of -o json; name a file")
    from clusterip.apiserver.auditlog import AuditLog, Keeping

    return AuditLog(
        Keeping(args.audit_log_path, args.audit_log_maxage, args.audit_log_maxsize, args.audit_log_maxbackup)
    )


def prepare() -> None:
    """As many connections as this machine allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def follow_parent(args: argparse.Namespace, stop: Callable[[], None]) -> None:
    """Call `stop` in the running loop when the parent process ends, if that was asked for."""
    if args.exit_with_parent is None:
        return
    parent = args.exit_with_parent or os.getppid()
    try:
        held = os.pidfd_open(parent)
    except OSError as error:
        raise Failure(f"--exit-with-parent {parent}: {error.strerror}") from error
    if os.getppid() != parent:  # it ended before we looked
        raise Failure(f"--exit-with-parent {parent}: that is not the process that started this")
    asyncio.get_running_loop().add_reader(held, stop)
