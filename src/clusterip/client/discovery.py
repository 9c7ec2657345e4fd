"""Which resources a server has, as references: for those who must treat all kinds alike.

Stage: read.  In: the API's discovery documents.  Out: ResourceRefs with their verbs.
Rules: one reference a resource, in its group's preferred version; subresources are left out.  Two requests are enough
for servers that tell all at once; others are asked group by group.
Truth: Kubernetes API concepts "discovery" (aggregated, since 1.30; unaggregated, which every version serves).
"""

from __future__ import annotations

import asyncio

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client

ALL = "APIGroupDiscoveryList"
ACCEPT = f"application/json;g=apidiscovery.k8s.io;v=v2;as={ALL},application/json"


async def discover(client: Client, verbs: frozenset[str] = frozenset({"list"})) -> list[ResourceRef]:
    """Every resource that supports all the verbs; a group whose own server is away is left out."""
    roots = await asyncio.gather(*(client.request("GET", path, accept=ACCEPT) for path in ("/api", "/apis")))
    if all(root.get("kind") == ALL for root in roots):
        return [ref for root in roots for group in root.get("items") or () for ref in of_group(group, verbs)]
    documents = await _one_by_one(client, roots[1])
    return [ref for document in documents for ref in references(document, verbs)]


async def _one_by_one(client: Client, groups: Tree) -> list[Tree]:
    documents = [await client.request("GET", "/api/v1")]
    for group in groups.get("groups") or ():
        version = group.get("preferredVersion") or group["versions"][0]
        try:
            documents.append(await client.request("GET", f"/apis/{version['groupVersion']}"))
        except ApiError as error:
            if error.code not in (404, 503):
                raise
    return documents


def of_group(group: Tree, verbs: frozenset[str]) -> list[ResourceRef]:
    """The references of one group that is told with all others: of its first version, unless that is out of date."""
    version: Tree = (group.get("versions") or ({},))[0]
    if version.get("freshness") == "Stale":
        return []
    name = group["metadata"].get("name", "")
    return [
        ResourceRef(
            name,
            version["version"],
            entry["resource"],
            entry["responseKind"]["kind"],
            entry.get("scope") == "Namespaced",
        )
        for entry in version.get("resources") or ()
        if entry.get("responseKind") and verbs <= set(entry.get("verbs") or ())
    ]


def references(document: Tree, verbs: frozenset[str]) -> list[ResourceRef]:
    """The references of one APIResourceList."""
    group, _, version = document["groupVersion"].rpartition("/")
    return [
        ResourceRef(group, version, entry["name"], entry["kind"], bool(entry["namespaced"]))
        for entry in document.get("resources") or ()
        if "/" not in entry["name"] and verbs <= set(entry.get("verbs") or ())
    ]
