"""How wide a request is: the seats of a list, by the objects that it looks at; and what the heads of streams carry."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import pytest

from apiserver.hooks import VALIDATING, configuration, hooked
from apiserver.test_relay import Kubelet, node
from apiserver.wire import PODS, Wire, served
from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.routing import route
from clusterip.apiserver.visit import _width

PATH = ["api", "v1", "configmaps"]


def collection(objects: int) -> Collection:
    made = Collection("/registry/configmaps/", {})
    made.entries = {str(n): Entry(str(n), b'{"metadata":{}}', 1, 1) for n in range(objects)}
    return made


@pytest.mark.parametrize(
    ("objects", "query", "seats"),
    [
        (0, {}, 1),
        (100, {}, 1),
        (101, {}, 2),
        (950, {}, 10),
        (100_000, {}, 10),
        (100_000, {"limit": "500"}, 5),
        (100_000, {"limit": "0"}, 10),
        (100_000, {"limit": "many"}, 10),
        (1000, {"watch": "1"}, 10),
        (1000, {"watch": "1", "resourceVersion": "7"}, 1),
        (1000, {"watch": "1", "resourceVersion": "7", "sendInitialEvents": "true"}, 10),
    ],
)
def test_wider_lists_take_more_seats(objects: int, query: dict[str, str], seats: int) -> None:
    assert _width(collection(objects), route("GET", "/api/v1/configmaps", PATH, query), query) == seats


async def upgraded(wire: Wire, path: str) -> tuple[list[str], bytes]:
    """The head of a 101 answer, and what the other end says to `abc`."""
    address = urlsplit(wire.api.url)
    context = ssl.create_default_context(cadata=wire.api.ca.decode())
    reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
    headers = {"Host": address.netloc, "Connection": "Upgrade", "Upgrade": "SPDY/3.1", "Audit-Id": "mine"}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**wire.headers, **headers}.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    writer.write(b"abc")
    said = await reader.readexactly(3)
    writer.close()
    return head, said


def test_a_stream_says_its_audit_id_its_flow_and_its_warnings() -> None:
    async def run(wire: Wire) -> None:
        kubelet = Kubelet()
        kubelet.answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
        warned = {"allowed": True, "warnings": ["careful"]}
        async with node(wire, kubelet), hooked(lambda request: warned) as hook:
            rules = [{"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]}]
            tree = configuration(VALIDATING, hook.client, rules=rules)
            await wire.ok("POST", f"/apis/admissionregistration.k8s.io/v1/{VALIDATING.plural}", tree)
            head, said = await upgraded(wire, f"{PODS}/p/exec?command=sh&stdout=true")
            assert head[0] == "HTTP/1.1 101 Switching Protocols"
            assert "Audit-Id: mine" in head
            assert 'Warning: 299 - "careful"' in head
            assert any(line.startswith("X-Kubernetes-Pf-Flowschema-Uid: ") for line in head)
            assert "Upgrade: SPDY/3.1" in head
            assert said == b"ABC"

    served(run)
