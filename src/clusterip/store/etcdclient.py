"""Calls to etcd: one channel to all its servers, each call with a clock, its errors as the store's own.

Stage: edge.  In: requests as bytes.  Out: answers, or Refused, Absent (it never got there), Doubtful (nobody knows).
Rules: gRPC is imported at the first use: it is an extra, and no process that never asks etcd pays for it.
Truth: etcd's gRPC services KV, Watch, Maintenance; grpc's keepalive, load balancing and status codes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clusterip.failure import Failure
from clusterip.store import etcdwire as wire
from clusterip.store.contract import StoreError

CALL_SECONDS = 5.0
CONNECT_MS = 4_000  # gRPC's name for it is the least backoff, yet it is what one attempt to connect may take
MOST_BYTES = 64 * 1024 * 1024
EXTRA = "the store etcd needs gRPC: pip install 'clusterip[etcd]'"
TARGETS = "one or more of http://HOST:PORT or https://HOST:PORT, with commas between them"


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where etcd is, and how to show oneself there."""

    urls: tuple[str, ...]
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    prefix: str = "/clusterip"
    relay: Path | None = None
    """A socket that leads to etcd, where its own network is out of reach."""

    @property
    def is_secure(self) -> bool:
        return self.urls[0].startswith("https")

    @property
    def shown(self) -> str:
        return ",".join(self.urls)


def parse_urls(text: str) -> tuple[str, ...]:
    """The servers of `--store etcd=URL[,URL...]`, or a Failure."""
    urls = tuple(each.strip().rstrip("/") for each in text.split(",") if each.strip())
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or _port(url) is None:
            raise Failure(f"--store etcd={text}: {url!r} is no server; write {TARGETS}")
    if not urls:
        raise Failure(f"--store etcd={text}: write {TARGETS}")
    if len({urlsplit(url).scheme for url in urls}) > 1:
        raise Failure(f"--store etcd={text}: all servers are reached by http, or all by https")
    return urls


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port or 2379
    except ValueError:
        return None


class Refused(StoreError):
    """etcd got the call and will not do it."""

    def __init__(self, why: str, too_large: bool = False, compacted: bool = False) -> None:
        super().__init__(why)
        self.too_large, self.compacted = too_large, compacted


class Absent(StoreError):
    """The call did not reach etcd: nothing happened."""


class Doubtful(StoreError):
    """No answer came: etcd may or may not have done it."""


class EtcdClient:
    """One channel, for one event loop."""

    def __init__(self, endpoints: Endpoints) -> None:
        try:
            import grpc
        except ImportError as error:
            raise Failure(EXTRA) from error
        self._grpc: Any = grpc
        self.endpoints = endpoints
        self._channel = self._open()

    def _open(self) -> Any:
        target, host = _target(self.endpoints)
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", MOST_BYTES),
            ("grpc.max_send_message_length", MOST_BYTES),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.enable_http_proxy", 0),
            ("grpc.lb_policy_name", "pick_first"),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if not self.endpoints.is_secure:
            return self._grpc.aio.insecure_channel(target, options=options)
        if host:
            options += [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
        files = (self.endpoints.authority, self.endpoints.key, self.endpoints.certificate)
        credentials = self._grpc.ssl_channel_credentials(*(_read(path) for path in files))
        return self._grpc.aio.secure_channel(target, credentials, options=options)

    async def call(self, method: str, request: bytes, seconds: float = CALL_SECONDS) -> bytes:
        """One request, one answer."""
        ask = self._channel.unary_unary(f"/etcdserverpb.{method}")
        try:
            answer: bytes = await ask(request, timeout=seconds)
        except self._grpc.RpcError as error:
            raise self.understood(error) from error
        return answer

    def understood(self, error: Any) -> StoreError:
        """A status of gRPC's as what it means for a store."""
        code, detail = error.code(), str(error.details() or "no detail")
        names = self._grpc.StatusCode
        if code is names.OUT_OF_RANGE and "compacted" in detail:
            return Refused(detail, compacted=True)
        if "too large" in detail or "larger than max" in detail:
            return Refused(detail, too_large=True)
        if code is names.UNAVAILABLE and ("failed to connect" in detail.lower() or "refused" in detail):
            return Absent(detail)
        if code in (names.UNAVAILABLE, names.DEADLINE_EXCEEDED, names.CANCELLED, names.UNKNOWN, names.ABORTED):
            return Doubtful(detail)
        return Refused(detail)

    async def range(self, request: bytes, seconds: float = CALL_SECONDS) -> wire.Found:
        return wire.range_response(await self.call("KV/Range", request, seconds))

    async def transact(self, request: bytes, seconds: float = CALL_SECONDS) -> wire.Done:
        return wire.transaction_response(await self.call("KV/Txn", request, seconds))

    async def compact(self, revision: int) -> None:
        await self.call("KV/Compact", wire.compaction(revision))

    async def version(self) -> str:
        """The version of the server that answers."""
        return wire.status_response(await self.call("Maintenance/Status", b""))

    @asynccontextmanager
    async def watching(self, first: bytes, end: bytes, start: int) -> AsyncIterator[Watching]:
        """A watch of keys from a revision on."""
        stream = self._channel.stream_stream("/etcdserverpb.Watch/Watch")()
        try:
            watching = Watching(self, stream)
            await watching.send(wire.watch_request(first, end, start))
            yield watching
        finally:
            stream.cancel()

    async def close(self) -> None:
        await self._channel.close()


class Watching:
    """An open watch."""

    def __init__(self, client: EtcdClient, stream: Any) -> None:
        self._client, self._stream = client, stream

    async def send(self, request: bytes) -> None:
        try:
            await self._stream.write(request)
        except (self._client._grpc.RpcError, asyncio.InvalidStateError) as error:
            raise Doubtful(f"the watch ended: {error}") from error

    async def ask_progress(self, seconds: float) -> None:
        """A watch that is silent is asked whether it lives: a dead connection ends it."""
        while True:
            await asyncio.sleep(seconds)
            await self.send(wire.progress_request())

    async def next(self) -> wire.Noticed:
        """The next message, however long it takes."""
        try:
            message = await self._stream.read()
        except self._client._grpc.RpcError as error:
            raise self._client.understood(error) from error
        if not isinstance(message, bytes):
            raise Doubtful("etcd ended the watch")
        return wire.watch_response(message)


def _target(endpoints: Endpoints) -> tuple[str, str]:
    """What gRPC is to connect to, and the name that the server's certificate must have ("" for its own address)."""
    places = [(urlsplit(url).hostname or "", _port(url)) for url in endpoints.urls]
    if endpoints.relay is not None:
        return f"unix:{_short(endpoints.relay)}", places[0][0]
    kinds: Sequence[str] = [_kind(host) for host, _ in places]
    if len(places) == 1 and kinds[0] == "name":
        return f"dns:///{places[0][0]}:{places[0][1]}", ""
    if len(set(kinds)) > 1 or kinds[0] == "name":
        raise Failure("--store etcd=: name several servers by addresses of one family")
    joined = ",".join(f"[{host}]:{port}" if kinds[0] == "ipv6" else f"{host}:{port}" for host, port in places)
    return f"{kinds[0]}:{joined}", places[0][0]


def _short(path: Path) -> str:
    """A name that fits into a socket's address; its folder stays open for the life of the process."""
    if len(str(path)) < 100:
        return str(path)
    return f"/proc/self/fd/{os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}/{path.name}"


def _kind(host: str) -> str:
    from ipaddress import ip_address

    try:
        return f"ipv{ip_address(host).version}"
    except ValueError:
        return "name"


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error
