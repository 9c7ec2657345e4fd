"""The server's own writes: through the same steps as anyone's, without a wire.

Stage: edge.  In: a resource, a namespace, a name.  Out: a Call of the server itself; None when it is not served.
"""

from __future__ import annotations

from clusterip.apiserver.access import MASTERS, User
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.media import PLAIN
from clusterip.transport.request import Request

SERVER = User("system:apiserver", (MASTERS,))


class _OwnRequest:
    """The server's own call: no wire, no parameters."""

    method = "POST"
    target = path = ""
    headers = {"User-Agent": "kube-apiserver"}  # noqa: RUF012
    query: dict[str, str] = {}  # noqa: RUF012


def own_call(core: Core, group: str, version: str, plural: str, namespace: str, name: str) -> Call | None:
    served = core.registry.find(group, version, plural)
    if served is None:
        return None
    request: Request = _OwnRequest()  # type: ignore[assignment]
    return Call(request, SERVER, "create", served, namespace, name, "", PLAIN)
