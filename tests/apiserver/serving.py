"""The true API server inside a test: TLS on loopback, over the memory store, in the test's own loop.

    from apiserver.serving import serving          # tests/ is on the path

    async def test_something():
        async with serving() as api:               # ~30 ms
            api.url, api.token, api.ca             # an administrator's way in
            api.client()                           # a clusterip.client.rest.Client as administrator (use `async with`)
            api.config("system:node:node-1", "system:nodes")   # a ServerConfig with a client certificate
            api.server.core.store                  # for those who must look behind the API

`make(api, "", "v1", "configmaps", tree)` and friends are not here: use the client, as every part does.
The synchronous fixture for code that must run elsewhere is `clusterip apiserver -o json`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from clusterip.api.resource import Resource
from clusterip.api.resources import RESOURCES
from clusterip.apiserver.app import USUAL
from clusterip.apiserver.core import Settings
from clusterip.apiserver.server import NAMES, ApiServer, Identity
from clusterip.apiserver.traffic import Operation
from clusterip.clock import Clock, SystemClock
from clusterip.store.contract import Store
from clusterip.store.memory import MemoryStore
from clusterip.transport.kubeconfig import kubeconfig
from clusterip.transport.listening import bind, url_of


@dataclass
class Api:
    """A running server, and the ways to it."""

    server: ApiServer
    url: str

    @property
    def token(self) -> str:
        return self.server.identity.token

    @property
    def ca(self) -> bytes:
        return self.server.identity.authority.certificate

    def kubeconfig(self) -> bytes:
        """An administrator's kubeconfig."""
        return kubeconfig(self.url, self.ca, token=self.token)

    def config(self, user: str = "", *groups: str) -> Any:
        """A ServerConfig: the administrator's, or that of a client certificate."""
        from clusterip.client.config import ServerConfig

        if not user:
            return ServerConfig(url=self.url, ca=self.ca, token=self.token)
        pair = self.server.identity.authority.client(user, groups)
        return ServerConfig(url=self.url, ca=self.ca, cert=pair.certificate, key=pair.key)

    def client(self, user: str = "", *groups: str, **options: Any) -> Any:
        """A Client for that identity."""
        from clusterip.client.rest import Client

        return Client(self.config(user, *groups), **options)


IDENTITY: list[Identity] = []  # keys are made once a test process


@asynccontextmanager
async def serving(
    *,
    store: Store | None = None,
    resources: tuple[Resource, ...] = RESOURCES,
    clock: Clock | None = None,
    settings: Settings | None = None,
    seed: int | None = 7,
    operation: Operation = USUAL,
) -> AsyncIterator[Api]:
    """A server for the length of the block."""
    if not IDENTITY:
        IDENTITY.append(Identity.fresh([*NAMES, "127.0.0.1", "10.96.0.1"]))
    sock = bind("127.0.0.1:0")
    kept = store or MemoryStore()
    server = ApiServer(
        kept, IDENTITY[0], settings or Settings(), resources, clock or SystemClock(), seed=seed, operation=operation
    )
    async with server.running([sock]):
        yield Api(server, url_of(sock))
    if store is None:
        await kept.close()
