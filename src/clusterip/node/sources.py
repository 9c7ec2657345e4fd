"""The configMaps and secrets that this node's pods name, each followed as long as a pod needs it; and tokens.

Stage: snapshot.  In: names, from pods.  Out: trees; a call when one changes; ServiceAccount tokens bound to a pod.
Rules: one watch an object, as the kubelet does, since a node may read only what its pods name.
Truth: pkg/kubelet/util/manager (watch based), KEP-1205 bound tokens: asked for again after 80 % of their life.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.client.informer import Informer
from clusterip.client.names import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS, ResourceRef
from clusterip.client.rest import Client
from clusterip.clock import Clock
from clusterip.node.model import Pod
from clusterip.node.payload import TokenRequest

FRESH_SHARE = 0.8
FIRST_LIST_SECONDS = 10.0
Changed = Callable[[], None]


@dataclass(slots=True)
class _Followed:
    informer: Informer[Tree]
    task: asyncio.Task[None]
    users: dict[str, Changed] = field(default_factory=dict)

    def tell(self) -> None:
        for changed in list(self.users.values()):
            changed()


class Followed:
    """Objects of one kind, by name."""

    def __init__(self, client: Client, ref: ResourceRef, group: asyncio.TaskGroup) -> None:
        self._client, self._ref, self._group = client, ref, group
        self._objects: dict[tuple[str, str], _Followed] = {}

    def get(self, namespace: str, name: str) -> Tree | None:
        followed = self._objects.get((namespace, name))
        return followed.informer.get(namespace, name) if followed else None

    async def need(self, namespace: str, name: str, user: str, changed: Changed) -> None:
        """Follow the object for this user; returns when it has been looked for once."""
        key = (namespace, name)
        followed = self._objects.get(key)
        if followed is None:
            informer = Informer[Tree](
                self._client, self._ref, lambda t: t, namespace=namespace, fields=f"metadata.name={name}"
            )
            followed = _Followed(
                informer, self._group.create_task(informer.run(), name=f"{self._ref.plural} {namespace}/{name}")
            )
            informer.subscribe(lambda *_: self._tell(key))
            self._objects[key] = followed
        followed.users[user] = changed
        async with asyncio.timeout(FIRST_LIST_SECONDS):
            await followed.informer.synced()

    def release(self, user: str) -> None:
        """The user needs nothing any more; what nobody needs is not followed."""
        for key, followed in list(self._objects.items()):
            if followed.users.pop(user, None) is not None and not followed.users:
                followed.task.cancel()
                del self._objects[key]

    def stop(self) -> None:
        """The agent ends."""
        for followed in self._objects.values():
            followed.task.cancel()

    def _tell(self, key: tuple[str, str]) -> None:
        if followed := self._objects.get(key):
            followed.tell()


class Sources:
    """What pods read from the API."""

    def __init__(self, client: Client, group: asyncio.TaskGroup) -> None:
        self.config_maps = Followed(client, CONFIG_MAPS, group)
        self.secrets = Followed(client, SECRETS, group)

    async def need(self, pod: Pod, names: tuple[set[str], set[str]], changed: Changed) -> None:
        """Follow all that the pod names."""
        maps, secrets = names
        wanted = [self.config_maps.need(pod.namespace, name, pod.uid, changed) for name in sorted(maps)]
        wanted += [self.secrets.need(pod.namespace, name, pod.uid, changed) for name in sorted(secrets)]
        await asyncio.gather(*wanted)

    def release(self, pod: Pod) -> None:
        self.config_maps.release(pod.uid)
        self.secrets.release(pod.uid)

    def stop(self) -> None:
        """The agent ends."""
        self.config_maps.stop()
        self.secrets.stop()


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    refresh_at: float  # monotonic


class Tokens:
    """The tokens of one pod."""

    def __init__(self, client: Client, pod: Pod, clock: Clock) -> None:
        self._client, self._pod, self._clock = client, pod, clock
        self._held: dict[TokenRequest, Token] = {}

    async def fetch(self, requests: list[TokenRequest]) -> None:
        """Have a fresh token for each request."""
        due = [r for r in requests if r not in self._held or self._held[r].refresh_at <= self._clock.monotonic()]
        for request, token in zip(due, await asyncio.gather(*(self._ask(r) for r in due)), strict=True):
            self._held[request] = token

    def get(self, request: TokenRequest) -> str:
        return self._held[request].text

    @property
    def refresh_at(self) -> float:
        """When the first of them should be renewed; 0 for never."""
        return min((token.refresh_at for token in self._held.values()), default=0.0)

    async def _ask(self, request: TokenRequest) -> Token:
        pod = self._pod
        account = str(pod.spec.get("serviceAccountName") or "default")
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid}
        spec: Tree = {"audiences": [request.audience] if request.audience else [], "expirationSeconds": request.seconds}
        body: Tree = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": account, "namespace": pod.namespace},
            "spec": {**spec, "boundObjectRef": bound},
        }
        answer = await self._client.create(SERVICE_ACCOUNTS, body, pod.namespace, subresource="token", name=account)
        status = answer["status"]
        life = float(request.seconds)
        with contextlib.suppress(KeyError, ValueError):
            life = (datetime.fromisoformat(status["expirationTimestamp"]) - self._clock.now()).total_seconds()
        return Token(status["token"], self._clock.monotonic() + FRESH_SHARE * max(life, 1.0))
