"""Requests to a Kubernetes API: one method a verb, trees in, trees out.

Stage: commit (writes) and read (get, list, watch).  In: ResourceRef, trees.  Out: trees, or ApiError, or Unreachable.
Rules: no retries and no caches here; every wait has a timeout; connections are kept and used again.
Truth: Kubernetes API concepts: verbs, watch, deletion options, field managers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import SimpleNamespace, TracebackType
from typing import Any, TypeAlias, TypedDict, Unpack
from urllib.parse import urlencode

import orjson
from yarl import URL

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.answers import error_of, lines_of, why
from clusterip.client.config import ServerConfig
from clusterip.client.connecting import Connector
from clusterip.client.names import ResourceRef
from clusterip.transport.httplibrary import aiohttp

REQUEST_SECONDS = 30.0
CONNECT_SECONDS = 15.0  # TLS included: a server whose many clients come at once takes its time
WATCH_SECONDS = 300.0  # how long the server is asked to keep one watch
WATCH_GRACE_SECONDS = 15.0  # how much longer a silent connection is believed in

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


# told of each request: its method, host, status (0: there was no answer) and seconds until the answer began
Asked: TypeAlias = Callable[[str, str, int, float], None]


class Unreachable(ConnectionError):
    """No answer from the API server: refused, cut off, or too late."""


class Options(TypedDict, total=False):
    """What a request may bring beside its method, path and body."""

    params: Mapping[str, str] | None
    content_type: str  # of the body: JSON
    accept: str | None
    timeout: float  # seconds, REQUEST_SECONDS


class Client:
    """One identity at one API server; an async context manager."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        user_agent: str = "clusterip/0.1",
        field_manager: str | None = None,
        asked: Asked | None = None,
    ) -> None:
        self.config = config
        self._asked = asked
        self._user_agent = user_agent
        self._field_manager = field_manager
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Make ready to connect; nothing is sent yet."""
        context = self.config.ssl_context()
        connector = Connector(limit=0, ssl=context if context is not None else True, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            trace_configs=[] if self._asked is None else [_trace(self._asked)],
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent, "Accept": "application/json", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """End all connections and wait until they are gone."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- verbs ---------------------------------------------------------------------------------------------------------

    async def get(
        self, ref: ResourceRef, name: str, namespace: str | None = None, subresource: str | None = None
    ) -> Tree:
        return await self.request("GET", ref.path(namespace, name, subresource))

    async def list(
        self,
        ref: ResourceRef,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
        metadata_only: bool = False,
    ) -> Tree:
        """The List; with a limit, one page of it."""
        params = _given(
            labelSelector=labels,
            fieldSelector=fields,
            limit=str(limit) if limit else "",
            **{"continue": continue_, "resourceVersion": resource_version},
        )
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" if metadata_only else None
        return await self.request("GET", ref.path(namespace), params=params, accept=accept)

    async def create(
        self,
        ref: ResourceRef,
        tree: Tree,
        namespace: str | None = None,
        subresource: str | None = None,
        name: str | None = None,
    ) -> Tree:
        """Create the object; with name and subresource, post to it (binding, eviction, token)."""
        namespace = namespace or tree.get("metadata", {}).get("namespace")
        return await self.request("POST", ref.path(namespace, name, subresource), tree, params=self._manager())

    async def update(self, ref: ResourceRef, tree: Tree, subresource: str | None = None) -> Tree:
        meta = tree["metadata"]
        path = ref.path(meta.get("namespace"), meta["name"], subresource)
        return await self.request("PUT", path, tree, params=self._manager())

    async def patch(
        self,
        ref: ResourceRef,
        name: str,
        namespace: str | None,
        patch: Tree | Sequence[Tree],
        *,
        type: str = "merge",
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
    ) -> Tree:
        params = self._manager(field_manager)
        if force:
            params["force"] = "true"
        path = ref.path(namespace, name, subresource)
        return await self.request("PATCH", path, patch, params=params, content_type=PATCH_TYPES[type])

    async def delete(
        self,
        ref: ResourceRef,
        name: str,
        namespace: str | None = None,
        *,
        grace_seconds: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Tree:
        """Delete; propagation is Background, Foreground or Orphan; uid and resource version are preconditions."""
        body = _delete_options(grace_seconds, propagation, uid, resource_version)
        return await self.request("DELETE", ref.path(namespace, name), body)

    async def delete_collection(
        self, ref: ResourceRef, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> Tree:
        params = _given(labelSelector=labels, fieldSelector=fields)
        return await self.request("DELETE", ref.path(namespace), params=params)

    async def watch(
        self,
        ref: ResourceRef,
        namespace: str | None = None,
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
        timeout_seconds: float = WATCH_SECONDS,
        metadata_only: bool = False,
        opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[tuple[str, Tree], None]:
        """Events after the revision, until the server ends the stream; an ERROR event is raised as ApiError.

        opened is called once the server has accepted the watch, which may be long before the first event.
        """
        params = _given(
            watch="true",
            resourceVersion=resource_version,
            labelSelector=labels,
            fieldSelector=fields,
            allowWatchBookmarks="true" if bookmarks else "",
            timeoutSeconds=str(int(timeout_seconds)),
        )
        silence = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=timeout_seconds + WATCH_GRACE_SECONDS
        )
        accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" if metadata_only else None
        try:
            async with self._send("GET", ref.path(namespace), None, silence, params=params, accept=accept) as response:
                if response.status >= 300:
                    raise error_of(response.status, await response.read())
                if opened is not None:
                    opened()
                async for line in lines_of(response.content):
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError.from_status(event["object"])
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            raise Unreachable(why(self.config.url, error)) from error

    async def request(self, method: str, path: str, body: Any = None, **options: Unpack[Options]) -> Tree:
        """One request, one JSON answer."""
        content = await self.request_bytes(method, path, body, **options)
        try:
            answer: Tree = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise Unreachable(f"{self.config.url} does not answer in JSON") from error
        return answer

    async def request_bytes(self, method: str, path: str, body: Any = None, **options: Unpack[Options]) -> bytes:
        """One request, the answer's bytes whatever they are (logs, metrics)."""
        seconds = options.pop("timeout", REQUEST_SECONDS)
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._send(method, path, body, limit, **options) as response:
                content: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(why(self.config.url, error)) from error
        if response.status >= 300:
            raise error_of(response.status, content)
        return content

    # -- inside --------------------------------------------------------------------------------------------------------

    def _send(self, method: str, path: str, body: Any, limit: aiohttp.ClientTimeout, **options: Unpack[Options]) -> Any:
        if self._session is None:
            raise Unreachable("the client is closed")
        headers: dict[str, str] = {}
        if (token := self.config.bearer()) is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = options.get("content_type", "application/json")
        if accept := options.get("accept"):
            headers["Accept"] = accept
        params = options.get("params")
        query = f"?{urlencode(params)}" if params else ""
        return self._session.request(
            method,
            URL(f"{self.config.url}{path}{query}", encoded=True),
            data=None if body is None else orjson.dumps(body),
            headers=headers,
            timeout=limit,
            allow_redirects=False,
            server_hostname=self.config.server_name,
        )

    def _manager(self, name: str | None = None) -> dict[str, str]:
        return _given(fieldManager=name or self._field_manager or "")


def _trace(asked: Asked) -> aiohttp.TraceConfig:
    """Tells of each request."""
    trace = aiohttp.TraceConfig()
    now = asyncio.get_running_loop().time

    async def start(_: Any, context: SimpleNamespace, __: Any) -> None:
        context.started = now()

    async def end(_: Any, context: SimpleNamespace, found: aiohttp.TraceRequestEndParams) -> None:
        asked(found.method, found.url.authority, found.response.status, now() - context.started)

    async def fail(_: Any, context: SimpleNamespace, found: aiohttp.TraceRequestExceptionParams) -> None:
        asked(found.method, found.url.authority, 0, now() - context.started)

    trace.on_request_start.append(start)
    trace.on_request_end.append(end)
    trace.on_request_exception.append(fail)
    return trace


def _given(**params: str) -> dict[str, str]:
    return {name: value for name, value in params.items() if value}


def _delete_options(grace: int | None, propagation: str | None, uid: str | None, version: str | None) -> Tree | None:
    preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", version)) if v}
    options: Tree = {"kind": "DeleteOptions", "apiVersion": "v1"}
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if propagation is not None:
        options["propagationPolicy"] = propagation
    if preconditions:
        options["preconditions"] = preconditions
    return options if len(options) > 2 else None
