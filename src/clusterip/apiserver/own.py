"""The server's own writes: through the same steps as anyone's, without a wire.

Stage: edge.  In: a resource, a namespace, a name.  Out: a Call of the server itself, None when it is not served; and
what is made or changed by it.
"""

from __future__ import annotations

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, copied
from clusterip.apiserver import writing
from clusterip.apiserver.access import MASTERS, User
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.media import PLAIN
from clusterip.apiserver.writes import Transaction
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


def make(core: Core, call: Call, transaction: Transaction, tree: Tree) -> None:
    """A new object of the call's kind, which the tree need not name; the tree itself stays as it is."""
    resource = call.served.resource
    fresh = copied({"kind": resource.kind, "apiVersion": resource.api_version, **tree})
    writing.bring_to_life(core, call, transaction, writing.decoded(call, fresh))


async def change(core: Core, call: Call, edit: writing.Edit) -> None:
    """An object edited; one that is gone needs nothing."""
    try:
        await writing.commit(core, call, lambda transaction: writing.change(core, call, transaction, edit))
    except ApiError as error:
        if error.code != 404:
            raise
