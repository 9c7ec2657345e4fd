"""Which resources a server has, as references: for those who must treat all kinds alike.

Stage: read.  In: the API's discovery documents.  Out: ResourceRefs with their verbs.
Rules: one reference a resource, in its group's preferred version; subresources are left out.
Truth: Kubernetes API concepts "discovery" (unaggregated form, which every version serves).
"""

from __future__ import annotations

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client


async def discover(client: Client, verbs: frozenset[str] = frozenset({"list"})) -> list[ResourceRef]:
    """Every resource that supports all the verbs; a group whose own server is away is left out."""
    documents = [await client.request("GET", "/api/v1")]
    groups = await client.request("GET", "/apis")
    for group in groups.get("groups") or ():
        version = group.get("preferredVersion") or group["versions"][0]
        try:
            documents.append(await client.request("GET", f"/apis/{version['groupVersion']}"))
        except ApiError as error:
            if error.code not in (404, 503):
                raise
    return [ref for document in documents for ref in references(document, verbs)]


def references(document: Tree, verbs: frozenset[str]) -> list[ResourceRef]:
    """The references of one APIResourceList."""
    group, _, version = document["groupVersion"].rpartition("/")
    return [
        ResourceRef(group, version, entry["name"], entry["kind"], bool(entry["namespaced"]))
        for entry in document.get("resources") or ()
        if "/" not in entry["name"] and verbs <= set(entry.get("verbs") or ())
    ]
