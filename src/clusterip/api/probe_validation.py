"""What is wrong with a container's probes and hooks.

Stage: none; pure checks.  In: probes, actions and their paths.  Out: field errors, in upstream's words.
Truth: kube-apiserver's apis/core/validation, recorded answers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import names
from clusterip.api.checks import not_negative, number_or_name, reasons
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree

HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def probe_errors(path: str, container: Tree, grace: Any) -> list[FieldError]:
    """The probes, which init containers that end do not have."""
    found = []
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name) is not None:
            found += _probe(f"{path}.{name}", container[name], name, grace)
    return found


def _probe(path: str, probe: Tree, name: str, grace: Any) -> list[FieldError]:
    found = handler_errors(path, probe, grace)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        found += not_negative(f"{path}.{field}", probe.get(field))
    own = probe.get("terminationGracePeriodSeconds")
    if own is not None and own <= 0:
        found.append(invalid(f"{path}.terminationGracePeriodSeconds", own, "must be greater than 0"))
    if name == "readinessProbe":
        if own is not None:
            detail = "must not be set for readinessProbes"
            found.append(invalid(f"{path}.terminationGracePeriodSeconds", own, detail))
    elif probe.get("successThreshold") != 1:
        found.append(invalid(f"{path}.successThreshold", probe.get("successThreshold"), "must be 1"))
    return found


def handler_errors(path: str, action: Tree, grace: Any) -> list[FieldError]:
    given = [kind for kind in HANDLERS if action.get(kind) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    first, *others = given
    found = _action(f"{path}.{first}", first, action[first], grace)
    return found + [forbidden(f"{path}.{kind}", "may not specify more than 1 handler type") for kind in others]


def _action(path: str, kind: str, action: Tree, grace: Any) -> list[FieldError]:
    if kind == "exec":
        return [] if action.get("command") else [required(f"{path}.command")]
    if kind == "sleep":
        seconds = action.get("seconds") or 0
        if grace is None or 0 <= seconds <= grace:
            return []
        detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        return [invalid(path, seconds, detail)]
    found = number_or_name(f"{path}.port", action.get("port", 0))
    return found + (_request(path, action) if kind == "httpGet" else [])


def _request(path: str, request: Tree) -> list[FieldError]:
    found = [] if request.get("path") else [required(f"{path}.path")]
    if request.get("scheme") not in ("HTTP", "HTTPS"):
        found.append(not_supported(f"{path}.scheme", request.get("scheme") or "", ("HTTP", "HTTPS")))
    for header in request.get("httpHeaders") or ():
        found += reasons(f"{path}.httpHeaders", header.get("name") or "", names.http_header)
    return found
