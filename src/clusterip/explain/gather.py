"""Ask the API for all that a picture needs.

Stage: read.  In: a Client.  Out: Picture, without what is seen beside the API.
Rules: everything is asked for at once; what is refused or not there is written down as unseen.  Of Secrets only names
and types are asked for.  Without Services or without an answer there is nothing to look at: Blind.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, key_of, name_of, namespace_of, status_of
from clusterip.client import names
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client, Unreachable
from clusterip.explain.picture import SYSTEM, Picture
from clusterip.explain.pods import ends_by_itself
from clusterip.failure import Failure

SOURCES: dict[str, tuple[ResourceRef, dict[str, Any]]] = {
    "services": (names.SERVICES, {}),
    "endpointslices": (names.ENDPOINT_SLICES, {}),
    "pods": (names.PODS, {}),
    "nodes": (names.NODES, {}),
    "namespaces": (names.NAMESPACES, {}),
    "events": (names.EVENTS, {"fields": "type=Warning"}),
    "deployments": (names.DEPLOYMENTS, {}),
    "daemonsets": (names.DAEMON_SETS, {}),
    "networkpolicies": (names.NETWORK_POLICIES, {}),
    "ingresses": (names.INGRESSES, {}),
    "ingressclasses": (names.INGRESS_CLASSES, {}),
    "secrets": (names.SECRETS, {"fields": "type=kubernetes.io/tls", "metadata_only": True}),
    "ipaddresspools": (names.IP_ADDRESS_POOLS, {}),
    "l2advertisements": (names.L2_ADVERTISEMENTS, {}),
    "bgpadvertisements": (names.BGP_ADVERTISEMENTS, {}),
}
OPTIONAL = ("ipaddresspools", "l2advertisements", "bgpadvertisements")  # of a cluster without MetalLB: there are none
ZONE = re.compile(r"^\s*kubernetes\s+([\w.-]+)", re.MULTILINE)
PAGE = 5000
MOST_LOGS = 10


class Blind(Failure):
    """Nothing can be looked at."""


async def gather(client: Client, now: datetime) -> Picture:
    """What the API has at this moment."""
    unseen: dict[str, str] = {}
    async with asyncio.TaskGroup() as group:
        asked = {field: group.create_task(_list(client, field, unseen)) for field in SOURCES}
        domain = group.create_task(_domain(client))
    if "services" in unseen:
        raise Blind(f"cannot look at Services of {client.config.url}: {unseen['services']}")
    lists: dict[str, Any] = {field: task.result() for field, task in asked.items()}
    return Picture(now, **lists, unseen=unseen, domain=domain.result())


async def with_logs(client: Client, picture: Picture) -> Picture:
    """The picture with the last lines of some pods that end by themselves; a log that cannot be had is left out."""
    pods = [pod for pod in picture.pods if ends_by_itself(pod)][:MOST_LOGS]
    texts = await asyncio.gather(*(_log(client, pod) for pod in pods))
    logs = {key_of(pod): text for pod, text in zip(pods, texts, strict=True) if text}
    return replace(picture, evidence=replace(picture.evidence, logs=logs))


async def _log(client: Client, pod: Tree) -> str:
    states = status_of(pod).get("containerStatuses") or ()
    name = next((each["name"] for each in states if not each.get("ready")), "")
    params = {"container": name, "tailLines": "2", "previous": "true"}
    path = names.PODS.path(namespace_of(pod), name_of(pod), "log")
    with suppress(ApiError, Unreachable, TimeoutError):
        return (await client.request_bytes("GET", path, params=params)).decode(errors="replace")
    return ""


async def _list(client: Client, field: str, unseen: dict[str, str]) -> tuple[Tree, ...]:
    ref, options = SOURCES[field]
    try:
        return await _pages(client, ref, options)
    except ApiError as error:
        if not (error.code == 404 and field in OPTIONAL):
            unseen[field] = str(error)
    except (Unreachable, TimeoutError) as error:
        unseen[field] = str(error) or "no answer in time"
    return ()


async def _pages(client: Client, ref: ResourceRef, options: dict[str, Any]) -> tuple[Tree, ...]:
    found: list[Tree] = []
    more = ""
    while True:
        page = await client.list(ref, limit=PAGE, continue_=more, **options)
        found += page.get("items") or ()
        more = (page.get("metadata") or {}).get("continue") or ""
        if not more:
            return tuple(found)


async def _domain(client: Client) -> str:
    """The zone that cluster DNS serves, as its Corefile says."""
    try:
        tree = await client.get(names.CONFIG_MAPS, "coredns", SYSTEM)
    except (ApiError, Unreachable, TimeoutError):
        return "cluster.local"
    found = ZONE.search((tree.get("data") or {}).get("Corefile") or "")
    return found[1] if found else "cluster.local"
