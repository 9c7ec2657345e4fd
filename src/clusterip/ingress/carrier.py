"""Carries a plan to HAProxy: what can be told is told, what cannot is a reload; who is refused is left out.

Stage: commit.  In: plans and endpoints.  Out: commands of the run-time API, reloads.
Rules: one at a time. A refused configuration changes nothing: the Ingresses whose lines are refused, or that are
refused alone, are left out, and the rest is tried again. An endpoint's change never reloads while there is a slot.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from clusterip.ingress import metrics, runtime
from clusterip.ingress.certificates import Certificate
from clusterip.ingress.compile import CERTIFICATES, CONFIG, Config, Listening, certificate_file, compile_plan, name_of
from clusterip.ingress.endpoints import Address
from clusterip.ingress.engine import Engine, complaints, lines_of, reason
from clusterip.ingress.frontend import MAPS
from clusterip.ingress.model import Key
from clusterip.ingress.plan import Backend, Picture, Plan, Served, make_plan
from clusterip.ingress.slots import Slots, changes, fill, fresh
from clusterip.transport.exposition import Registry

logger = logging.getLogger(__name__)

Endpoints = Mapping[Backend, tuple[Address, ...]]
LONGEST_REASON = 300


class Carrier:
    """What HAProxy runs, and how it gets there."""

    def __init__(self, engine: Engine, listening: Listening, fallback: Certificate, numbers: Registry) -> None:
        self._engine, self._listening, self._fallback, self._numbers = engine, listening, fallback, numbers
        self._held: dict[str, Slots] = {}
        self._skeleton: Mapping[str, bytes] = {}
        self._pems: dict[str, bytes] = {}
        self._shaped: tuple[Plan, Mapping[str, bytes]] | None = None

    async def admit(self, picture: Picture, served: Served) -> Plan:
        """The plan that HAProxy takes: without the Ingresses and certificates that it refuses."""
        refused: dict[Key, str] = {}
        spoilt: dict[Key, str] = {}
        while True:
            plan = make_plan(picture, served, refused, spoilt)
            config = compile_plan(plan, self._listening, self._fallback, {})
            said = "" if self._is_running(plan, config) else await self._engine.refusal(config)
            if not said:
                break
            self._numbers.count(metrics.REFUSALS)
            await self._blame(plan, config, said, refused, spoilt)
        self._numbers.put(metrics.INGRESSES, float(len(refused)))
        self._numbers.put(metrics.ROUTES, float(len(plan.routes)))
        return plan

    def _is_running(self, plan: Plan, config: Config) -> bool:
        return self._shape(plan, config) == self._skeleton and _pems(plan) == self._pems

    async def _blame(
        self, plan: Plan, config: Config, said: str, refused: dict[Key, str], spoilt: dict[Key, str]
    ) -> None:
        """Note who is to be left out."""
        secrets = {key: f"is refused by HAProxy: {why}" for key, why in culprits(config, said, CERTIFICATES).items()}
        lines = {} if secrets else culprits(config, said, CONFIG, *MAPS)
        found = {} if secrets else lines or await self._alone(plan)
        if not secrets and not found:
            logger.error("HAProxy refuses the configuration", extra={"kv": {"err": said}})
            raise OSError("HAProxy refuses the configuration, and no Ingress is to blame")
        spoilt |= secrets
        refused |= found

    async def _alone(self, plan: Plan) -> dict[Key, str]:
        """The Ingresses that are refused even by themselves."""
        refused: dict[Key, str] = {}
        for key in sorted({backend.ingress for backend in plan.backends()}):
            routes = tuple(route for route in plan.routes if route.backend.ingress == key)
            defaults = tuple(item for item in plan.defaults if item[1].ingress == key)
            alone = replace(plan, routes=routes, defaults=defaults, certificates=())
            said = await self._engine.refusal(compile_plan(alone, self._listening, self._fallback, {}))
            if said:
                refused[key] = "; ".join(map(reason, complaints(said)))[:LONGEST_REASON] or said[:LONGEST_REASON]
        return refused

    async def carry(self, plan: Plan, endpoints: Endpoints) -> None:
        """Make HAProxy do what the plan and the endpoints say."""
        wanted = {name_of(backend): endpoints.get(backend, ()) for backend in plan.backends()}
        filled = {name: fill(self._held[name], found) for name, found in wanted.items() if name in self._held}
        shape = self._shape_of(plan)
        if shape == self._skeleton and all(filled.get(name) is not None for name in wanted):
            try:
                await self._tell({name: slots for name, slots in filled.items() if slots is not None})
                await self._tell_certificates(plan)
                return
            except (OSError, TimeoutError) as error:
                logger.warning("HAProxy cannot be told, reloading", extra={"kv": {"err": error}})
        held = {name: filled.get(name) or fresh(found) for name, found in wanted.items()}
        await self._engine.put(compile_plan(plan, self._listening, self._fallback, held))
        self._numbers.count(metrics.RELOADS)
        self._skeleton, self._held, self._pems = shape, held, _pems(plan)

    async def _tell(self, filled: Mapping[str, Slots]) -> None:
        for name, slots in filled.items():
            told = changes(self._held[name], slots)
            if told:
                await runtime.set_servers(self._engine.socket, name, told)
                self._held[name] = slots
                self._numbers.count(metrics.SERVERS, len(told))

    async def _tell_certificates(self, plan: Plan) -> None:
        for name, pem in _pems(plan).items():
            if self._pems.get(name) != pem:
                await runtime.set_certificate(self._engine.socket, name, pem)
                self._pems[name] = pem
                self._numbers.count(metrics.CERTIFICATES)

    def _shape(self, plan: Plan, config: Config) -> Mapping[str, bytes]:
        """What cannot be changed without a reload."""
        told = set(_pems(plan))
        return {name: content for name, content in config.files.items() if name not in told}

    def _shape_of(self, plan: Plan) -> Mapping[str, bytes]:
        """The same, worked out once for a plan."""
        if self._shaped is None or self._shaped[0] is not plan:
            self._shaped = plan, self._shape(plan, compile_plan(plan, self._listening, self._fallback, {}))
        return self._shaped[1]

    def forget(self) -> None:
        """HAProxy was started anew from its files: what it was told since is told again by a reload."""
        self._skeleton = {}


def _pems(plan: Plan) -> dict[str, bytes]:
    return {certificate_file(certificate): certificate.pem for _, certificate in plan.certificates}


def culprits(config: Config, said: str, *files: str) -> dict[Key, str]:
    """Whose lines of these files HAProxy names, and what it says of them."""
    found: dict[Key, str] = {}
    for text in complaints(said):
        for name, number in lines_of(text):
            owners = config.owners.get(name, ()) if name in files else ()
            owner = owners[number - 1] if 0 < number <= len(owners) else None
            if owner is not None:
                found.setdefault(owner, reason(text)[:LONGEST_REASON])
    return found
