"""A request for a version of a group that another server serves: handed on, and its answer handed back.

Stage: serve.  In: a request that is allowed here, a Remote.  Out: its answer, as it comes; 503 in plain text where
nobody answers.
Rules: the caller's credentials stay here; the other server is told in headers who asks, and believes it by the
       certificate that this server shows.  What a caller claims in such headers is not handed on.
Truth: kube-aggregator's pkg/apiserver/handler_proxy.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from clusterip.api.errors import ApiError
from clusterip.apiserver import frontproxy, proxying
from clusterip.apiserver.access import User
from clusterip.apiserver.calling import Line, Lines, why
from clusterip.apiserver.remotes import Remote
from clusterip.apiserver.routing import Route
from clusterip.apiserver.webhooks_calling import CallError
from clusterip.transport.answers import Answer, Response, plain
from clusterip.transport.request import Request

UNAVAILABLE = "service unavailable"


def remote_for(remotes: Mapping[tuple[str, str], Remote], request: Request, found: Route) -> Remote | None:
    """Who else serves what is asked for."""
    if found.resource:
        return remotes.get((found.group, found.version))
    match request.segments():
        case ["apis", group, version] | ["openapi", "v3", "apis", group, version]:
            return remotes.get((group, version))
    return None


async def delegate(lines: Lines, request: Request, user: User, remote: Remote) -> Answer:
    """The other server's answer."""
    request.begun()  # it takes no more of this server than a connection
    if not remote.available:
        return refused(UNAVAILABLE)
    if not frontproxy.can_be_told(user):
        return refused("the name of the caller cannot be told to another server", 500)
    try:
        line = await lines.open(remote)
    except CallError:
        return refused(UNAVAILABLE)
    except (OSError, TimeoutError) as error:
        return refused(f"error trying to reach service: {why(error, _authority(lines, remote))}")
    try:
        return await _relayed(line, request, user)
    except ApiError as error:
        return refused(error.message)


async def _relayed(line: Line, request: Request, user: User) -> Answer:
    host, _, port = line.authority.rpartition(":")
    path, _, query = request.target.partition("?")
    sent = proxying.Sent(request, path, "", query, tuple(frontproxy.headers(user)))
    where = proxying.Place(host.strip("[]"), int(port), "https")
    return await proxying.relayed(sent, where, line.reader, line.writer)


def _authority(lines: Lines, remote: Remote) -> str:
    try:
        host, port = lines.place(remote)
    except CallError:
        return ""
    return f"{host}:{port}"


def refused(text: str, code: int = 503) -> Response:
    return plain(code, f"{text}\n")
