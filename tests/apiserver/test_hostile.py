"""Clients that mean no good, or know no better: clear refusals, bounded memory, and the others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from apiserver.wire import CONFIGMAPS, Wire, config_map, served
from clusterip.testing import ApiServer
from clusterip.transport import connection

SOAK = bool(os.environ.get("CLUSTERIP_SOAK"))
IDLE = 10_000 if SOAK else 300
MEGABYTE = 1024 * 1024


class Line:
    """One TLS connection, byte by byte."""

    def __init__(self, wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = f"Host: h\r\nAuthorization: Bearer {wire.api.token}\r\n".encode()

    def ask(self, method: str, path: bytes, *headers: bytes, body: bytes = b"") -> None:
        lines = b"".join(header + b"\r\n" for header in headers)
        self.writer.write(method.encode() + b" " + path + b" HTTP/1.1\r\n" + self.head + lines + b"\r\n" + body)

    async def answer(self) -> tuple[int, Any]:
        """Status and tree of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:"))
        raw = await self.reader.readexactly(length)
        return int(head.split()[1]), json.loads(raw) if "json" in head else raw.decode()

    def cut(self) -> None:
        self.writer.transport.abort()


async def connected(wire: Wire, alpn: list[str] | None = None) -> Line:
    host, port = wire.api.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cadata=wire.api.ca.decode())
    if alpn:
        context.set_alpn_protocols(alpn)
    return Line(wire, *await asyncio.open_connection(host, int(port), ssl=context))


def on_a_line(test: Callable[[Wire, Line], Awaitable[None]]) -> None:
    """Run a test with a connection of its own; afterwards the server must still serve others."""

    async def body(wire: Wire) -> None:
        line = await connected(wire)
        try:
            await test(wire, line)
        finally:
            line.cut()
        await wire.ok("GET", CONFIGMAPS)

    served(body)


JSON = b"Content-Type: application/json"


def length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def test_a_body_over_the_limit_is_refused_before_it_comes() -> None:
    async def test(wire: Wire, line: Line) -> None:
        line.ask("POST", CONFIGMAPS.encode(), JSON, b"Content-Length: %d" % (100 * MEGABYTE))
        code, status = await line.answer()
        assert (code, status["reason"]) == (413, "RequestEntityTooLarge")
        assert status["message"] == "Request entity too large: limit is 3145728"

    on_a_line(test)


def test_a_body_over_the_limit_in_chunks_is_refused_at_the_limit() -> None:
    async def test(wire: Wire, line: Line) -> None:
        line.ask("POST", CONFIGMAPS.encode(), JSON, b"Transfer-Encoding: chunked")
        chunk = b"%x\r\n%b\r\n" % (MEGABYTE, b" " * MEGABYTE)
        for _ in range(4):
            line.writer.write(chunk)
        assert (await line.answer())[0] == 413

    on_a_line(test)


DEEP = 100_000
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)
BODIES = {
    "deep lists": (b"application/json", b"[" * DEEP),
    "deep objects": (b"application/json", b'{"a":' * DEEP),
    "a deep field": (
        b"application/json",
        b'{"metadata":{"name":"a"},"data":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    ),
    "bytes that are no text": (b"application/json", b'{"metadata":{"name":"\xff\xfe"}}'),
    "half a character": (b"application/json", b'{"metadata":{"name":"\\ud800"}}'),
    "a long number": (b"application/json", b'{"metadata":{"generation":' + b"9" * 100_000 + b"}}"),
    "a number beyond doubles": (b"application/json", b'{"metadata":{"generation":1e999}}'),
    "no end": (b"application/json", b'{"metadata":{"name":"a"'),
    "nothing": (b"application/json", b""),
    "zeros": (b"application/json", b"\0" * 1000),
    "YAML that doubles": (b"application/yaml", BOMB.encode()),
    "deep YAML": (b"application/yaml", b"a: " + b"[" * 20_000),
    "YAML with tags": (b"application/yaml", b"!!python/object/apply:os.system ['true']"),
    "YAML with itself inside": (b"application/yaml", b"a: &a {b: *a}"),
    "protobuf that is none": (b"application/vnd.kubernetes.protobuf", b"k8s\x00" + b"\xff" * 1000),
    "protobuf without its mark": (b"application/vnd.kubernetes.protobuf", b"{}"),
    "HTML": (b"text/html", b"<html>"),
    "a type with a newline's worth of noise": (b"application/json; charset=;;;=,", b"[]"),
    "gzip": (b"application/gzip", b"\x1f\x8b\x08\x00" + b"\0" * 100),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_no_objects_are_refused(name: str) -> None:
    media, body = BODIES[name]

    async def test(wire: Wire, line: Line) -> None:
        for method, path in (("POST", CONFIGMAPS), ("PUT", f"{CONFIGMAPS}/a"), ("DELETE", f"{CONFIGMAPS}/a")):
            line.ask(method, path.encode(), b"Content-Type: " + media, length(body), body=body)
            code, status = await line.answer()
            assert 400 <= code < 500, (method, code, status)
            assert status["kind"] == "Status"
            assert len(status["message"]) < 10_000

    on_a_line(test)


@pytest.mark.parametrize(
    "media", ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"]
)
@pytest.mark.parametrize("body", [b"[" * DEEP, b'{"a":' * DEEP, b"\xff\xfe", b"7", b'[{"op":"copy"}]', b'"', b"null"])
def test_patches_that_are_none_are_refused(media: str, body: bytes) -> None:
    async def test(wire: Wire, line: Line) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        path = f"{CONFIGMAPS}/a?fieldManager=me".encode()
        line.ask("PATCH", path, b"Content-Type: application/" + media.encode(), length(body), body=body)
        code, status = await line.answer()
        if body == b"null":
            assert code in (200, 400, 422), status
        else:
            assert 400 <= code < 500, (code, status)

    on_a_line(test)


def test_copies_that_grow_an_object_without_end_are_refused() -> None:
    """Each of a patch's copies doubles the object."""

    async def test(wire: Wire, line: Line) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("a", k="x" * 1000))
        steps = [{"op": "copy", "from": "/data", "path": f"/data/d{n}"} for n in range(64)]
        body = json.dumps(steps).encode()
        line.ask(
            "PATCH", f"{CONFIGMAPS}/a".encode(), b"Content-Type: application/json-patch+json", length(body), body=body
        )
        code, status = await asyncio.wait_for(line.answer(), 60)
        assert 400 <= code < 500, status

    on_a_line(test)


PATHS = {
    b"/api/v1/namespaces/%ff%fe/configmaps": (200, 400, 404),
    b"/api/v1/namespaces/default/configmaps/a%00b": (400, 404),
    b"/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets": (400, 404),
    b"/api/v1/namespaces/%2e%2e/configmaps": (200, 400, 404),
    b"/api/v1/" + b"a/" * 10_000: (404, 405),
    b"/api/v1/configmaps?labelSelector=%ff%00": (400,),
    b"/api/v1/configmaps?labelSelector=" + b"a%2C" * 20_000: (200, 400),
    b"/api/v1/configmaps?fieldSelector=" + b"metadata.name%3Da%2C" * 5_000: (200, 400),
    b"/api/v1/configmaps?continue=" + b"A" * 10_000: (400, 410),
    b"/api/v1/configmaps?continue=%ff": (400,),
    b"/api/v1/configmaps?limit=-5": (200, 400),
    b"/api/v1/configmaps?limit=" + b"9" * 50: (200, 400),
    b"/api/v1/configmaps?resourceVersion=" + b"9" * 5_000: (400, 504),
    b"/api/v1/configmaps?resourceVersion=-1": (400,),
    b"/api/v1/configmaps?timeoutSeconds=1e9": (400,),
    b"/api/v1/configmaps?watch=1&timeoutSeconds=" + b"9" * 50: (400, 500),
    b"/api/v1/configmaps?watch=1&resourceVersion=" + b"9" * 500: (400, 500, 504),
    b"/api/v1/configmaps?" + b"&".join(b"a%d=b" % n for n in range(20_000)): (200, 400, 414, 431),
    b"/openapi/v3/" + b"../" * 50: (404,),
    b"//////": (200, 403, 404),
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:60].decode())
def test_paths_and_parameters_of_any_sort_are_answered(path: bytes) -> None:
    async def test(wire: Wire, line: Line) -> None:
        line.ask("GET", path)
        code, _ = await line.answer()
        assert code in PATHS[path]

    on_a_line(test)


HEADERS = {
    b"Authorization: Bearer \xff\xff": 401,
    b"Authorization: Bearer " + b"a." * 20_000: 401,
    b"Authorization: Basic !!!": 403,
    b"Impersonate-User: \xff": 403,
    b"User-Agent: \xff\xfe" + b"a" * 100_000: 200,
    b"Accept: " + b"application/json;q=0.1," * 5_000: 200,
    b"Accept: \xff/\xff": 406,
    b"Audit-Id: \xff" + b"a" * 5_000: 200,
}


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:30].decode(errors="replace"))
def test_headers_of_any_sort_are_answered(header: bytes) -> None:
    async def test(wire: Wire, line: Line) -> None:
        if header.startswith(b"Authorization"):
            line.head = b"Host: h\r\n"
        line.ask("GET", CONFIGMAPS.encode(), header)
        assert (await line.answer())[0] == HEADERS[header]

    on_a_line(test)


def test_a_writer_with_a_name_that_is_no_text_leaves_readable_objects() -> None:
    async def test(wire: Wire, line: Line) -> None:
        body = json.dumps(config_map("a", k="v")).encode()
        line.ask("POST", CONFIGMAPS.encode(), JSON, length(body), b"User-Agent: \xff\xfe/1", body=body)
        assert (await line.answer())[0] == 201
        assert (await wire.ok("GET", f"{CONFIGMAPS}/a"))["metadata"]["managedFields"][0]["manager"]

    on_a_line(test)


def test_offers_of_http_2_are_answered_in_http_1() -> None:
    async def body(wire: Wire) -> None:
        for offered in (["h2", "http/1.1"], ["h2"]):
            line = await connected(wire, offered)
            assert line.writer.get_extra_info("ssl_object").selected_alpn_protocol() in ("http/1.1", None)
            line.ask("GET", b"/version")
            assert (await line.answer())[0] == 200
            line.cut()

    served(body)


def test_clients_that_vanish_leave_nothing() -> None:
    """In a watch, in a body, in a handshake, before a word, and half closed."""

    async def body(wire: Wire) -> None:
        host, port = wire.api.url.removeprefix("https://").split(":")
        collection = wire.api.server.core.registry.of("configmaps")
        for _ in range(30):
            watching, sending, silent = [await connected(wire) for _ in range(3)]
            watching.ask("GET", CONFIGMAPS.encode() + b"?watch=1")
            sending.ask("POST", CONFIGMAPS.encode(), JSON, b"Content-Length: 100", body=b"{")
            _, plain = await asyncio.open_connection(host, int(port))
            plain.write(b"\x16\x03\x01\x02\x00\x01\x00")  # a handshake that goes no further
            _, closed = await asyncio.open_connection(host, int(port))
            closed.write_eof()
            await watching.reader.readuntil(b"\r\n\r\n")
            for each in (watching, sending, silent):
                each.cut()
            plain.transport.abort()
            closed.close()
        while any(key > 0 for key in collection.watchers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        gate = wire.api.server.app.traffic.gate
        while any(level.seats or level.waiting for level in gate.levels):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await wire.ok("POST", CONFIGMAPS, config_map("a"))

    served(body)


def test_a_handshake_that_never_ends_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterip.transport.http.HEAD_SECONDS", 3.0)

    async def body(wire: Wire) -> None:
        host, port = wire.api.url.removeprefix("https://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await wire.ok("GET", "/readyz")
        assert await reader.read() == b""
        writer.close()

    served(body)


def test_a_reader_that_stops_in_a_long_list_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALL_SECONDS", 2.0)
    cut = asyncio.Event()

    async def taken(*arguments: Any) -> None:
        try:
            await connection.taken(*arguments)
        except ConnectionError:
            cut.set()
            raise

    monkeypatch.setattr("clusterip.transport.http.taken", taken)

    async def body(wire: Wire) -> None:
        for n in range(20):
            await wire.ok("POST", CONFIGMAPS, config_map(f"c{n}", text="x" * 900_000))
        line = await connected(wire)
        line.ask("GET", CONFIGMAPS.encode())
        await wire.ok("GET", f"{CONFIGMAPS}/c0")
        raw = 0
        await cut.wait()
        with suppress(ConnectionError, ssl.SSLError):
            while piece := await line.reader.read(65536):
                raw += len(piece)
        assert raw < 18_000_000
        line.cut()

    served(body)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_many_idle_connections_cost_others_nothing() -> None:
    """A server of its own: both ends of ten thousand connections are more files than one process may have."""

    async def body(api: ApiServer) -> None:
        host, port = api.url.removeprefix("https://").split(":")
        context = ssl.create_default_context(cafile=str(api.ca))
        before, writers = resident(api.pid), []
        for _ in range(IDLE // 50):
            opened = (asyncio.open_connection(host, int(port), ssl=context) for _ in range(50))
            writers += [writer for _, writer in await asyncio.gather(*opened)]
        path = "/api/v1/namespaces/default/configmaps"
        for n in range(20):
            await asyncio.to_thread(api.request, "POST", path, {"metadata": {"name": f"c{n}"}})
        assert (resident(api.pid) - before) / IDLE < 300_000
        print(f"{len(writers)} connections, {(resident(api.pid) - before) / IDLE / 1000:.0f} kB each")
        for writer in writers:
            writer.transport.abort()

    with ApiServer() as api:
        asyncio.run(asyncio.wait_for(body(api), 250))
