"""The address controller and its webhooks as a process.

Stage: all of them; the only module of this part that knows every other.
Rules: webhooks answer before the process says that it is ready; an API that is away ends nothing.
Truth: MetalLB's controller: its order of start, its Secret, its ports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from clusterip.api.errors import ApiError
from clusterip.api.metallb_config import RULES
from clusterip.client.backoff import Backoff
from clusterip.client.config import ServerConfig
from clusterip.client.events import EventRecorder
from clusterip.client.metallb import FOR_ADDRESSES, Configured
from clusterip.client.metallb_state import CONTROLLER, KIND, StateReporter, state_tree
from clusterip.client.rest import Client, Unreachable
from clusterip.client.scrapers import Scrapers, show
from clusterip.clock import Clock, SystemClock
from clusterip.loadbalancer import memberlist
from clusterip.loadbalancer.certificate import TRUSTING, Certificate, Trusted
from clusterip.loadbalancer.controller import AddressController
from clusterip.loadbalancer.server import WebhookServer
from clusterip.transport.http import Listener
from clusterip.transport.insight import Insight
from clusterip.transport.listening import bind_any

logger = logging.getLogger(__name__)

COMPONENT = "metallb-controller"
ENABLED, DISABLED, ONLY = "enabled", "disabled", "onlywebhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the controller is started with."""

    server: ServerConfig
    namespace: str
    metrics_port: int = 9120
    health_port: int = 17472
    webhook_port: int = 9443
    webhook_mode: str = ENABLED
    webhook_secret: str = "metallb-webhook-cert"
    webhook_service: str = "metallb-webhook-service"
    balancer_class: str = ""
    member_secret: str = ""
    deployment: str = ""
    bgp_type: str = ""


class Process:
    """One controller."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings, self._clock = settings, clock or SystemClock()
        self._is_ready = settings.webhook_mode == DISABLED
        self.webhook_port = 0  # where they answer

    async def run(self) -> None:
        """Serve until cancelled."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(settings.server, user_agent="metallb-controller/clusterip"))
            recorder = EventRecorder(client, COMPONENT)
            controller = AddressController(client, recorder, settings.namespace, settings.balancer_class)
            await self._show(stack, client, controller)
            async with asyncio.TaskGroup() as group:
                group.create_task(recorder.run(), name="events")
                if settings.webhook_mode != DISABLED:
                    group.create_task(self._serve_webhooks(client), name="webhooks")
                if settings.member_secret:
                    group.create_task(self._make_secret(client), name="secret of the speakers")
                if settings.webhook_mode != ONLY:
                    self._control(group, client, controller)

    def _control(self, group: asyncio.TaskGroup, client: Client, controller: AddressController) -> None:
        namespace = self._settings.namespace
        configured = Configured(client, namespace, FOR_ADDRESSES)
        state = state_tree("controller", namespace, {KIND: "controller"}, None)
        reporter = StateReporter(client, state, CONTROLLER, self._clock)
        configured.subscribe(controller.on_configuration, controller.on_verdict)
        configured.subscribe(lambda _: None, reporter.judged)
        group.create_task(configured.run(), name="configuration")
        group.create_task(reporter.run(), name="state")
        group.create_task(controller.run(), name="addresses")

    async def _show(self, stack: AsyncExitStack, client: Client, controller: AddressController) -> None:
        insight, scrapers = Insight(controller.registry, lambda: self._is_ready), Scrapers(client, self._clock)
        health = f":{self._settings.health_port}"
        await show(stack, insight, scrapers, COMPONENT, self._settings.metrics_port, health)

    async def _make_secret(self, client: Client) -> None:
        settings = self._settings
        name, deployment = settings.member_secret, settings.deployment
        await patiently(lambda: memberlist.make_secret(client, settings.namespace, name, deployment))

    async def _serve_webhooks(self, client: Client) -> None:
        settings = self._settings
        host = f"{settings.webhook_service}.{settings.namespace}.svc"
        certificate = Certificate(client, settings.namespace, settings.webhook_secret, host, self._clock)
        await patiently(certificate.prepare)
        server = WebhookServer(client, settings.namespace, RULES[settings.bgp_type])
        listener, door = Listener(server.handle), bind_any(settings.webhook_port)
        await listener.listen(door, certificate.context)
        self.webhook_port, self._is_ready = int(door.getsockname()[1]), True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(certificate.run(), name="certificate")
                for ref, name, trust in TRUSTING:
                    group.create_task(Trusted(client, certificate, ref, name, trust).run(), name=f"trust {name}")
        finally:
            await listener.close()


async def patiently(work: Callable[[], Awaitable[None]]) -> None:
    """Do it, however long the API is away or says no."""
    backoff = Backoff(first=0.1, longest=10.0)
    while True:
        try:
            await work()
            return
        except (ApiError, Unreachable) as error:
            logger.warning("Trying again", extra={"kv": {"err": error}})
            await asyncio.sleep(backoff.delay())
