"""What an API server is measured against, as processes: TLS without an API, a store without a server.

python -m bench.apichild echo PEM SIZE                        answers every request with SIZE bytes
python -m bench.apichild fan PEM SIZE                         tells every GET of every PATCH, in SIZE bytes
python -m bench.apichild store FILE SIZE WRITERS FRESH COUNT  prints writes a second
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time
from pathlib import Path
from typing import ClassVar, cast

import uvloop

from clusterip.store.contract import Write
from clusterip.store.sqlite import SqliteStore


class Echo(asyncio.Protocol):
    """An answer for every empty line."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self.transport.write(self.answer)  # type: ignore[attr-defined]


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SENT = re.compile(rb'"sent":"[^"]*"')


class Fan(asyncio.Protocol):
    """A stream for every GET, to which goes what every other request says; that is answered last, as changes are."""

    size = 0
    told: ClassVar[list[asyncio.Transport]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET "):
            self.transport.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            self.told.append(self.transport)
        elif sent := SENT.search(data):
            event = b"%x\r\n%b%b\r\n" % (self.size, sent[0], b"x" * (self.size - len(sent[0])))
            for each in self.told:
                each.write(event)
            self.transport.write(HEAD + b"Content-Length: 2\r\n\r\n{}")


async def serve(protocol: type[asyncio.Protocol], pem: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def store(path: str, size: int, writers: int, fresh: bool, count: int) -> None:
    """The writers' changes of a round are one transaction, as a server would group them."""
    kept = SqliteStore(Path(path))
    value = b"x" * size
    revisions = dict.fromkeys(range(writers), 0)
    began, done = time.perf_counter(), 0
    while done < count:
        keys = range(done, done + writers) if fresh else range(writers)
        writes = [Write(f"/registry/things/default/{key}", value, 0 if fresh else revisions[key]) for key in keys]
        last = await kept.commit(writes)
        revisions.update({key: last - writers + 1 + number for number, key in enumerate(revisions)})
        done += writers
    print(done / (time.perf_counter() - began))
    await kept.close()


def main() -> None:
    match sys.argv[1:]:
        case ["echo", pem, size]:
            Echo.answer = HEAD + b"Content-Length: %d\r\n\r\n" % int(size) + b"x" * int(size)
            uvloop.run(serve(Echo, pem))
        case ["fan", pem, size]:
            Fan.size = int(size)
            uvloop.run(serve(Fan, pem))
        case ["store", path, *numbers]:
            size, writers, fresh, count = map(int, numbers)
            uvloop.run(store(path, size, writers, bool(fresh), count))


if __name__ == "__main__":
    main()
