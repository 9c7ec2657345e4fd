"""Events that the server itself tells.

Stage: shell.  In: an object, a reason, a text.  Out: an Event beside it (in `default` when it is in no namespace).
Rules: an event that cannot be kept is logged and forgotten: nothing depends on it.
Truth: client-go's tools/events recorder: events.k8s.io/v1.
"""

from __future__ import annotations

import logging
from datetime import UTC

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.apiserver import own
from clusterip.apiserver.core import Core
from clusterip.apiserver.writes import Transaction

log = logging.getLogger(__name__)


async def record(core: Core, about: Tree, by: str, reason: str, action: str, text: str) -> None:
    """Tell a Warning about an object that has its kind and metadata."""
    metadata, now = about["metadata"], core.clock.now()
    namespace = metadata.get("namespace") or "default"
    name = f"{metadata['name']}.{core.random.getrandbits(64):016x}"
    named = {field: metadata[field] for field in ("namespace", "name", "uid", "resourceVersion") if field in metadata}
    tree = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": by,
        "reportingInstance": f"{by}-clusterip",
        "action": action,
        "reason": reason,
        "regarding": {"kind": about["kind"], "apiVersion": about["apiVersion"], **named},
        "note": text[:1024],
        "type": "Warning",
    }
    call = own.own_call(core, "events.k8s.io", "v1", "events", namespace, name)
    if call is None:
        return

    def operation(transaction: Transaction) -> None:
        own.make(core, call, transaction, tree)

    try:
        await core.writes.do(operation)
    except ApiError as error:
        log.warning("An event could not be kept", extra={"kv": {"reason": reason, "err": error.message}})
