"""One request from the wire to an answer: who, what, may they, the verb, and errors as Status.

Stage: serve; the shell around the verbs.  In: a Request.  Out: an Answer.
Rules: the order is upstream's: authentication, authorization, then whether the path exists at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import orjson

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.apiserver import (
    bodies,
    delegating,
    deleting,
    discovery,
    healthchecks,
    impersonation,
    indent,
    reading,
    reviews,
    subresources,
    watching,
    webhooks,
    writing,
)
from clusterip.apiserver.access import Ask, User, refusal
from clusterip.apiserver.authentication import Authenticator
from clusterip.apiserver.calling import Lines
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.delegating import remote_for
from clusterip.apiserver.documents import Documents
from clusterip.apiserver.media import PLAIN, negotiate, negotiate_plain, render
from clusterip.apiserver.options import check_timeout
from clusterip.apiserver.rbac import RbacAuthorizer
from clusterip.apiserver.routing import Route, route
from clusterip.apiserver.traffic import Operation, Traffic
from clusterip.apiserver.visit import Crowded, Visit
from clusterip.apiserver.webhooks_pending import settled
from clusterip.apiserver.writes import away
from clusterip.store.contract import Away
from clusterip.transport.answers import Answer, Response, Takeover, plain
from clusterip.transport.request import Request

log = logging.getLogger(__name__)

PUBLIC = (("Cache-Control", "public, max-age=3600"),)
PATHS = {"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/readyz", "/version"]}
NOT_FOUND = plain(404, "404 page not found\n")

Reader = Callable[[Core, Call], Answer]
Writer = Callable[[Core, Call], Awaitable[Answer]]
READERS: dict[str, Reader] = {"get": reading.get, "list": reading.list_all, "watch": watching.watch}
WRITERS: dict[str, Writer] = {
    "create": writing.create,
    "update": writing.update,
    "patch": writing.patch,
    "delete": deleting.delete,
    "deletecollection": deleting.delete_collection,
}


USUAL = Operation()
ENDING = "create not allowed while custom resource definition is terminating"


class App:
    """The server's answer to everything."""

    def __init__(
        self, core: Core, authenticator: Authenticator, operation: Operation = USUAL, lines: Lines | None = None
    ) -> None:
        self._core = core
        self._lines = lines
        self._authenticator = authenticator
        self._documents = Documents(core.registry, core.clock)
        self.traffic = Traffic(core, operation)

    async def handle(self, request: Request) -> Answer:
        """An answer for any request, in the caller's layout; only cancellation leaves this."""
        visit = self.traffic.begin(request)
        try:
            given = visit.ended(await self._answered(request, visit))
        except BaseException:
            visit.left()
            raise
        wanted = indent.is_wanted(request.query, request.headers.get("User-Agent", ""))
        return indent.indented(given) if wanted and isinstance(given, Response) else given

    async def _answered(self, request: Request, visit: Visit) -> Answer:
        try:
            user = self._authenticator.user(request)
            found = route(request.method, request.path, request.segments(), request.query)
            visit.recognised(user, found)
            acting = impersonation.acting(request.headers.items(), user, self._core.authorizer.allows, self._refusal)
            if acting is not user:
                visit.acts_as(acting)
                user = acting
            if not visit.turn(user, found):
                await visit.wait()
            ask = found.ask()
            if not self._core.authorizer.allows(user, ask):
                visit.judged(False)
                raise self._refusal(user, ask)
            visit.judged(True)
            return await self._served(request, user, found, visit)
        except ApiError as error:
            return failure(error, request)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            log.exception("A request failed", extra={"kv": {"path": request.path}})
            return failure(ApiError.internal(f"{type(error).__name__}: {error}"), request)

    def _refusal(self, user: User, ask: Ask) -> ApiError:
        authorizer = self._core.authorizer
        return refusal(user, ask, authorizer.reason(user, ask) if isinstance(authorizer, RbacAuthorizer) else "")

    async def _served(self, request: Request, user: User, found: Route, visit: Visit) -> Answer:
        remotes = self._core.registry.remotes
        if remotes and self._lines is not None and (remote := remote_for(remotes, request, found)) is not None:
            return await delegating.delegate(self._lines, request, user, remote)
        if not found.resource:
            return self._path(request, user)
        served = self._core.registry.find(found.group, found.version, found.resource)
        if served is None:
            special = await reviews.special(self._core, request, user, found)
            if special is not None:
                return special
            if (found.group, found.version) not in self._versions():
                return NOT_FOUND
            raise ApiError.no_such_resource()
        is_led_on = found.subresource in subresources.CONNECTIONS
        accept = request.headers.get("Accept", "")
        form = PLAIN if is_led_on else negotiate(accept, is_custom=served.resource.is_custom)
        if found.verb != "watch" and not is_led_on:
            check_timeout(request.query)
        resource = served.resource
        if resource.is_custom and found.namespace and not resource.namespaced:
            return NOT_FOUND
        namespace = found.namespace if resource.namespaced else ""
        call = Call(request, user, found.verb, served, namespace, found.name, found.subresource, form)
        if resource.deprecation:
            call.warnings.append(resource.deprecation)
        try:
            if served.is_ending and found.verb == "create" and not found.subresource:
                raise ApiError.forbidden(resource.group, resource.plural, found.name or await _name_of(request), ENDING)
            if served.converter is not None and found.verb in READERS:
                return await settled(self._core, call, lambda: self._verb(call, found))
            given = await self._verb(call, found)
            if isinstance(given, Takeover):
                request.lead += "".join(f"{name}: {text}\r\n" for name, text in call.warning_headers()).encode()
            return given
        except ApiError as error:
            return failure(error, request, call.warning_headers())
        finally:
            visit.annotated(call.audited)

    async def _verb(self, call: Call, found: Route) -> Answer:
        if found.subresource:
            return await self._subresource(call, found)
        resource, namespace = call.served.resource, call.namespace
        known = found.verb in resource.verbs
        placed = namespace or not resource.namespaced
        if found.name and not placed:
            raise ApiError.no_such_resource()
        if not known or not (placed or (found.verb in ("list", "watch") and not found.name)):
            raise ApiError.method_not_allowed()
        if (found.verb in ("update", "patch")) != bool(found.name) and found.verb in ("update", "patch", "create"):
            raise ApiError.method_not_allowed()
        reader = READERS.get(found.verb)
        if reader:
            await self._see_all(call)
            return reader(self._core, call)
        return await WRITERS[found.verb](self._core, call)

    async def _see_all(self, call: Call) -> None:
        """A reader that names no revision, or one that is not here yet, sees what other servers acknowledged."""
        store, asked = self._core.store, call.query.get("resourceVersion", "")
        if not store.shared or (asked and not (asked.isdigit() and int(asked) > store.revision)):
            return
        try:
            await store.catch_up()
        except Away as error:
            raise away(error) from error

    async def _subresource(self, call: Call, found: Route) -> Answer:
        resource = call.served.resource
        sub = resource.subresources.get(found.subresource)
        if sub is None and resource.is_custom:
            raise ApiError.not_found(resource.group, resource.plural, call.name)
        if sub is None or (found.rest and found.subresource != "proxy"):
            raise ApiError.no_such_resource()
        own = subresources.OWN.get(found.subresource)
        if own is None and found.verb not in sub.verbs:
            raise ApiError.method_not_allowed()
        if own is not None:
            if found.subresource in subresources.CONNECTIONS:
                await webhooks.connected(self._core, call)
            return await own(self._core, call)
        reader = READERS.get(found.verb)
        if reader:
            await self._see_all(call)
            return reader(self._core, call)
        if found.verb not in ("update", "patch"):
            raise ApiError.method_not_allowed()
        return await WRITERS[found.verb](self._core, call)

    def _versions(self) -> set[tuple[str, str]]:
        known = {(group, version) for group, version, _ in self._core.registry.served}
        return known | {(group, "v1") for group, _ in reviews.BY_PATH}

    def _path(self, request: Request, user: User) -> Answer:
        """Paths that are no resource."""
        match request.segments():
            case ["version"]:
                return Response(200, orjson.dumps(discovery.VERSION) + b"\n")
            case ["metrics"]:
                return self.traffic.metrics()
            case [name, *_] as segments if name in healthchecks.KINDS:
                verbose, exclude = "verbose" in request.query, request.values("exclude")
                return healthchecks.answer(self._core, segments, verbose, exclude) or NOT_FOUND
            case [] if request.method in ("GET", "HEAD"):
                return Response(200, orjson.dumps(PATHS) + b"\n")
            case ["api" | "apis" as root]:
                return self._roots(request, root)
            case ["api", version]:
                return self._listed(request, discovery.resource_list(self._core.registry, "", version))
            case ["apis", group]:
                return self._listed(request, discovery.group(self._core.registry, group))
            case ["apis", group, version]:
                return self._listed(request, discovery.resource_list(self._core.registry, group, version))
            case ["openapi", *rest]:
                return self._documents.answer(request, rest) or NOT_FOUND
            case [".well-known", "openid-configuration"]:
                host, port = self._core.settings.advertise
                found = self._core.signer.configuration(f"https://{host}:{port}/openid/v1/jwks")
                return Response(200, orjson.dumps(found), headers=PUBLIC)
            case ["openid", "v1", "jwks"]:
                keys = orjson.dumps(self._core.signer.web_keys())
                return Response(200, keys, "application/jwk-set+json", PUBLIC)
        return NOT_FOUND

    def _roots(self, request: Request, root: str) -> Answer:
        registry = self._core.registry
        if discovery.wants_aggregated(request.headers.get("Accept", "")):
            tree = discovery.aggregated(registry, core=root == "api")
            return Response(200, orjson.dumps(tree), discovery.AGGREGATED)
        host, port = self._core.settings.advertise
        tree = discovery.api_versions(f"{host}:{port}") if root == "api" else discovery.group_list(registry)
        return answer(tree, request)

    def _listed(self, request: Request, tree: Tree | None) -> Answer:
        return NOT_FOUND if tree is None else answer(tree, request)


def answer(tree: Tree, request: Request, status: int = 200) -> Response:
    """What is no resource, in the form that the client takes."""
    form = negotiate_plain(request.headers.get("Accept", ""))
    body = render(tree, form)
    return Response(status, body + b"\n" if form.plain else body, form.media)


async def _name_of(request: Request) -> str:
    """What an object that is not made would have been called."""
    try:
        metadata = (await bodies.read(request)).parse("")["metadata"]
        return str(metadata["name"])
    except (ApiError, KeyError, TypeError):
        return ""


def failure(error: ApiError, request: Request, warnings: Sequence[tuple[str, str]] = ()) -> Response:
    """An error as a Status, in the form that the client takes."""
    headers = [*warnings]
    headers += [("Retry-After", str(error.retry_after_seconds))] if error.retry_after_seconds else []
    if error.code == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="kubernetes-master"'))
    if isinstance(error, Crowded):
        return plain(429, f"{error.message}\n", headers)
    given = answer(error.status(), request, error.code)
    given.headers = headers
    return given
