"""Health and numbers of a process, over HTTP: /healthz, /readyz, /metrics.

Stage: edge.  In: a registry, whether it is ready.  Out: answers on any number of sockets.
Rules: every socket answers all paths; a gate asks who wants the numbers, on the sockets that have one.  TLS with a
certificate that nobody has to know is for scrapers that ask for https and check nothing.
Truth: controller-runtime's probes ("ok"), Prometheus text format.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from clusterip.transport import certificates
from clusterip.transport.answers import TEXT, Response
from clusterip.transport.exposition import CONTENT_TYPE, Registry
from clusterip.transport.http import Listener
from clusterip.transport.listening import bind, bind_any, split_address
from clusterip.transport.request import Request

Gate = Callable[[Request], Awaitable[Response | None]]  # None: come in


class Insight:
    """What a process shows of itself."""

    def __init__(self, registry: Registry, is_ready: Callable[[], bool]) -> None:
        self._registry, self._is_ready = registry, is_ready

    async def handle(self, request: Request) -> Response:
        if request.path == "/metrics":
            return Response(200, self._registry.render().encode(), CONTENT_TYPE)
        if request.path == "/healthz" or (request.path == "/readyz" and self._is_ready()):
            return Response(200, b"ok", TEXT)
        if request.path == "/readyz":
            return Response(500, b"not ready\n", TEXT)
        return Response(404, b"404 page not found\n", TEXT)

    def behind(self, gate: Gate) -> Callable[[Request], Awaitable[Response]]:
        """The numbers for whom the gate lets in; health for everybody."""

        async def handle(request: Request) -> Response:
            refused = await gate(request) if request.path == "/metrics" else None
            return refused or await self.handle(request)

        return handle

    async def listen(
        self, stack: AsyncExitStack, address: str, context: ssl.SSLContext | None = None, gate: Gate | None = None
    ) -> None:
        """Answer on `host:port`; without a host, on every address. Port 0 is none."""
        host, port = split_address(address)
        if port == 0:
            return
        listener = Listener(self.behind(gate) if gate is not None else self.handle)
        await listener.listen(bind(address) if host else bind_any(port), context)
        stack.push_async_callback(listener.close)


def own_context(name: str) -> ssl.SSLContext:
    """TLS with a certificate made for the occasion."""
    return certificates.server_context(certificates.new_authority(name).server(name, [name, "localhost"]))
