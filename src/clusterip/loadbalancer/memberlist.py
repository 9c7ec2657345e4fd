"""The Secret by which speakers know each other.

Stage: commit.  In: the namespace, the Deployment that owns it.  Out: the Secret, if there was none.
Truth: MetalLB: key `secretkey`, 16 random bytes in base64 without padding, owned by the controller's Deployment.
"""

from __future__ import annotations

import base64
import logging
import secrets

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.names import DEPLOYMENTS, SECRETS
from clusterip.client.rest import Client

logger = logging.getLogger(__name__)

KEY = "secretkey"


async def make_secret(client: Client, namespace: str, name: str, deployment: str) -> None:
    """Make it unless it is there."""
    found = await client.list(SECRETS, namespace, fields=f"metadata.name={name}")
    if found.get("items"):
        return
    meta: Tree = {"name": name, "namespace": namespace}
    if owner := await _owner(client, namespace, deployment):
        meta["ownerReferences"] = [owner]
    text = base64.b64encode(secrets.token_bytes(16)).rstrip(b"=")
    data = {KEY: base64.b64encode(text).decode()}
    try:
        await client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})
        logger.info("Secret of the speakers made", extra={"kv": {"secret": f"{namespace}/{name}"}})
    except ApiError as error:
        if error.code != 409:
            raise


async def _owner(client: Client, namespace: str, deployment: str) -> Tree | None:
    if not deployment:
        return None
    try:
        tree = await client.get(DEPLOYMENTS, deployment, namespace)
    except ApiError as error:
        if error.code != 404:
            raise
        return None
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment, "uid": tree["metadata"]["uid"]}
