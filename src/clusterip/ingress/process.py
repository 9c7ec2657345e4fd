"""The Ingress controller as a process.

Stage: all of them; the only module of this part that knows every other.
Rules: ready once HAProxy runs the first plan; at the end requests under way are finished.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from clusterip.client.config import ServerConfig
from clusterip.client.events import EventRecorder
from clusterip.client.rest import Client
from clusterip.ingress import metrics
from clusterip.ingress.carrier import Carrier
from clusterip.ingress.certificates import own_certificate
from clusterip.ingress.compile import Listening
from clusterip.ingress.controller import IngressController, Published
from clusterip.ingress.engine import Engine
from clusterip.ingress.plan import Served
from clusterip.transport.insight import Insight

COMPONENT = "ingress-controller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the controller is started with."""

    server: ServerConfig
    served: Served = field(default_factory=Served)
    published: Published = field(default_factory=Published)
    listening: Listening = field(default_factory=Listening)
    state: Path | None = None  # None: a folder that is gone afterwards
    health: str = ""
    grace_seconds: float = 20.0
    namespace: str | None = None
    program: str = "haproxy"


class Process:
    """One controller and its HAProxy."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._restarted: Callable[[], None] = lambda: None
        self._numbers = metrics.registry()
        self.ready = asyncio.Event()

    @property
    def reloads(self) -> int:
        """How many configurations took over."""
        return int(self._numbers.value(metrics.RELOADS))

    async def run(self) -> None:
        """Serve until cancelled."""
        settings = self._settings
        folder = settings.state or Path(tempfile.mkdtemp(prefix="clusterip-ingress-"))
        engine = Engine(folder, settings.program, self._on_restart)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            await self._serve(engine)
        finally:
            await engine.end(settings.grace_seconds)
            if settings.state is None:
                shutil.rmtree(folder, ignore_errors=True)

    def _on_restart(self) -> None:
        self._numbers.count(metrics.RESTARTS)
        self._restarted()

    async def _serve(self, engine: Engine) -> None:
        settings = self._settings
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(settings.server, user_agent="clusterip-ingress/0.1"))
            recorder = EventRecorder(client, COMPONENT)
            carrier = Carrier(engine, settings.listening, own_certificate(), self._numbers)
            controller = IngressController(
                client, recorder, carrier, settings.served, settings.published, settings.namespace
            )
            self._restarted = controller.restarted
            if settings.health:
                await Insight(self._numbers, self.ready.is_set).listen(stack, settings.health)
            async with asyncio.TaskGroup() as group:
                group.create_task(recorder.run(), name="events")
                group.create_task(engine.keep(), name="haproxy")
                group.create_task(controller.run(), name="ingresses")
                await controller.carried.wait()
                self.ready.set()
