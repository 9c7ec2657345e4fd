"""What goes wrong beside a real HAProxy: it is killed, its controller is, the API leaves, Secrets and Ingresses lie."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from apiserver.serving import Api, serving
from clusterip.client.names import ENDPOINT_SLICES, INGRESSES, SECRETS
from clusterip.ingress.certificates import own_certificate
from clusterip.transport.certificates import new_authority
from ingress.harness import (
    Answer,
    Running,
    controller,
    endpoint,
    eventually,
    folder,
    get,
    ingress,
    parsed,
    pods,
    rule,
    service,
)
from ingress.test_frontend import ODD_PATTERN
from ingress.test_process import peer, pid_of, said, tls_secret

pytestmark = pytest.mark.timeout(240)
TESTS = Path(__file__).parents[1]


async def served(socket: Path, host: str, path: str = "/") -> str:
    """Who answers; nobody where HAProxy is away, or ends within its answer."""
    try:
        return (await get(socket, host, path)).pod
    except (OSError, IndexError, ValueError):
        return ""


def test_haproxy_killed_under_load_has_its_slots_again() -> None:
    """It starts from a configuration that is older than its slots: they are told anew."""

    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("old", "new") as servers:
            await service(client, "web", servers[0])
            await ingress(client, "web", ("web", "/", "web"))
            async with controller(api, place) as running, asyncio.TaskGroup() as group:
                stop, found = asyncio.Event(), list[str]()

                async def load() -> None:
                    while not stop.is_set():
                        found.append(await served(running.http, "web"))
                        await asyncio.sleep(0)

                tasks = [group.create_task(load()) for _ in range(3)]
                await endpoint(client, "web", 1, servers[1])
                await client.delete(ENDPOINT_SLICES, "web-0", "default")
                await eventually(lambda: is_only(running, "new"))
                first = pid_of(place / "state")
                os.kill(first, signal.SIGKILL)

                async def again() -> bool:
                    return pid_of(place / "state") != first and await is_only(running, "new")

                await eventually(again)
                stop.set()
                await asyncio.gather(*tasks)
                assert {"old", "new"} >= set(found) - {""}

    asyncio.run(run())


async def is_only(running: Running, name: str) -> bool:
    return {await served(running.http, "web") for _ in range(8)} == {name}


@asynccontextmanager
async def outliving(api: Api, place: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A controller that can be killed; ready."""
    file = place / "kubeconfig"
    file.write_bytes(api.kubeconfig())
    words = (sys.executable, "-m", "ingress.outliving", str(file), str(place))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, env=env)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_a_controller_killed_leaves_haproxy_to_the_next() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("a", "b") as servers:
            await service(client, "web", servers[0])
            await ingress(client, "web", ("web", "/", "web"))
            async with outliving(api, place):
                assert await served(place / "http", "web") == "a"
            orphan = pid_of(place / "state")
            assert await served(place / "http", "web") == "a"  # nobody follows the API, requests go on
            await endpoint(client, "web", 1, servers[1])
            await client.delete(ENDPOINT_SLICES, "web-0", "default")
            stop, found = asyncio.Event(), list[str]()

            async def load() -> None:
                while not stop.is_set():
                    found.append(await served(place / "http", "web"))

            loading = asyncio.ensure_future(load())
            async with controller(api, place) as running:
                await eventually(lambda: is_only(running, "b"))
                assert pid_of(place / "state") != orphan
                stop.set()
                await loading
                assert set(found) <= {"a", "b"}  # none was refused meanwhile
                await eventually(lambda: is_gone(orphan))

    asyncio.run(run())


async def is_gone(pid: int) -> bool:
    """Ended; a container without an init keeps its entry."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()  # noqa: ASYNC240 - the kernel's, at once
    except OSError:
        return True


def test_the_api_leaves_and_requests_go_on() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            place, (web, _) = await stack.enter_async_context(folder()), await stack.enter_async_context(pods("a", "b"))
            server = AsyncExitStack()
            api = await server.enter_async_context(serving())
            client = await server.enter_async_context(api.client())
            await service(client, "web", web)
            await ingress(client, "web", ("web", "/", "web"))
            running = await stack.enter_async_context(controller(api, place))
            await server.aclose()
            assert [await served(running.http, "web") for _ in range(5)] == ["a"] * 5
            first = pid_of(place / "state")
            os.kill(first, signal.SIGKILL)

            async def again() -> bool:
                return pid_of(place / "state") != first and await served(running.http, "web") == "a"

            await eventually(again)

    asyncio.run(run())


def weak() -> tuple[bytes, bytes]:
    """A pair that is one, of a length that HAProxy's TLS does not take."""
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak.org")])
    strong = x509.load_pem_x509_certificates(own_certificate().pem)[0]
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, *span(strong)).sign(key, SHA256())
    return made.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def span(certificate: x509.Certificate) -> tuple[object, object]:
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def test_secrets_that_are_garbage_harm_their_host_alone() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web") as servers:
            await service(client, "web", servers[0])
            good, (crt, key) = new_authority("tests").server("good.org", ["good.org"]), weak()
            await tls_secret(client, "good", good.certificate, good.key)
            await tls_secret(client, "weak", crt, key)
            await tls_secret(client, "noise", b"\0\xffnoise", b"-----BEGIN PRIVATE KEY-----\nno")
            for name in ("good", "weak", "noise", "none"):
                host = f"{name}.org"
                await ingress(client, name, (host, "/", "web"), tls=[{"hosts": [host], "secretName": name}])
            async with controller(api, place) as running:
                assert await peer(running.https, "good.org") in good.certificate.decode()
                default = await peer(running.https, "weak.org")
                assert default == await peer(running.https, "noise.org") == await peer(running.https, "none.org")
                await eventually(lambda: said(client, "BadCertificate", "default/weak is refused by HAProxy"))
                await eventually(lambda: said(client, "BadCertificate", "default/noise has a tls.crt that is no cert"))
                await eventually(lambda: said(client, "BadCertificate", "default/none is not there"))
                # one that was good becomes one that HAProxy refuses: the rest goes on changing
                coded = {"tls.crt": base64.b64encode(crt).decode(), "tls.key": base64.b64encode(key).decode()}
                await client.patch(SECRETS, "good", "default", {"data": coded}, type="merge")
                await eventually(lambda: said(client, "BadCertificate", "default/good is refused by HAProxy"))
                await ingress(client, "later", ("later.org", "/", "web"))
                await eventually(lambda: served(running.http, "later.org"))

    asyncio.run(run())


def test_who_haproxy_refuses_is_put_aside() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web", "new") as servers:
            for pod in servers:
                await service(client, pod.name, pod)
            await ingress(client, "good", ("good", "/", "web"))
            async with controller(api, place) as running:
                odd = {"kind": "ImplementationSpecific", "use_regex": "true"}
                await ingress(client, "bad", ("bad", f"/{ODD_PATTERN}", "web"), **odd)
                canary = {"canary": "true", "canary_by_header": "X-C", "canary_by_header_pattern": ODD_PATTERN}
                await ingress(client, "badcanary", ("good", "/", "new"), **canary)
                await ingress(client, "after", ("after", "/", "web"))
                await eventually(lambda: served(running.http, "after"))
                await eventually(lambda: said(client, "Rejected", "regex.map"))
                await eventually(lambda: said(client, "Rejected", f"'{ODD_PATTERN}' is invalid"))
                assert await served(running.http, "good") == "web"
                assert (await running.get("bad", "/x")).status == 404
                mended = {"spec": {"rules": [rule("bad", "/x", "web")]}}
                await client.patch(INGRESSES, "bad", "default", mended, type="merge")
                await eventually(lambda: served(running.http, "bad", "/x"))

    asyncio.run(run())


HOSTILE = (
    "x\n  server evil 127.0.0.1:1",
    "x\r\nbackend evil",
    "a' 'b",
    'a" "b # c',
    "%[lua.evil] %[src] %ci",
    "\\'; http-request lua.evil",
    "$(id) ${HOME} `id`",
    "{ src 0.0.0.0/0 } || TRUE",
    "/\0/..",
    "\u00e9 \u202e \u2028",
    "9" * 400,
    "if TRUE",
)
SIMPLE = (
    "affinity",
    "session-cookie-name",
    "session-cookie-path",
    "session-cookie-domain",
    "session-cookie-max-age",
    "session-cookie-expires",
    "session-cookie-samesite",
    "rewrite-target",
    "use-regex",
    "proxy-body-size",
    "proxy-read-timeout",
    "whitelist-source-range",
    "denylist-source-range",
    "canary-by-header",
    "canary-by-cookie",
    "canary-by-header-value",
    "canary-by-header-pattern",
    "canary-weight",
    "backend-protocol",
    "permanent-redirect",
    "temporal-redirect",
    "upstream-vhost",
    "load-balance",
    "cors-allow-origin",
    "cors-allow-methods",
    "cors-allow-headers",
    "cors-expose-headers",
    "cors-max-age",
    "configuration-snippet",
    "server-snippet",
)


def test_hostile_annotations_change_nothing_but_their_own_requests() -> None:
    """All of them on Ingresses beside a good one: HAProxy takes what is left of them, and nothing evil is in it."""

    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web") as servers:
            await service(client, "web", servers[0])
            await ingress(client, "good", ("good", "/", "web"))
            for number, value in enumerate(HOSTILE):
                notes = {name.replace("-", "_"): value for name in SIMPLE}
                fixed = {"affinity": "cookie", "enable_cors": "true", "canary": "false"}
                await ingress(client, f"evil{number}", (f"evil{number}", "/", "web"), **notes | fixed)
                canary = {"canary": "true", "canary_by_header": "X-C"}
                await ingress(client, f"canary{number}", ("good", "/", "web"), **notes | canary)
            async with controller(api, place) as running:
                assert await served(running.http, "good") == "web"
                lines = (place / "state" / "live" / "haproxy.cfg").read_text().split("\n")
                words = {line.split(" ")[0] for line in lines if line and not line.startswith(" ")}
                assert words == {"global", "defaults", "frontend", "backend"}
                assert not [line for line in lines if "server evil" in line or line.startswith("backend evil")]
                statuses = {(await running.get(f"evil{number}", "/")).status for number in range(len(HOSTILE))}
                assert statuses <= {200, 301, 302, 404}

    asyncio.run(run())


HOSTILE_REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: good\r\nHost: other\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: good/x y\r\n\r\n",
    b"GET /%00%0a%0d HTTP/1.1\r\nHost: good\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: good\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: good\r\nX-A: \x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : good\r\n\r\n",
    b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: good\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: good\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: good\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: " + b"a." * 5000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
]


def test_hostile_requests_end_with_an_answer_or_none() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web") as servers:
            await service(client, "web", servers[0])
            await ingress(client, "good", ("good", "/", "web"))
            async with controller(api, place) as running:
                for raw in HOSTILE_REQUESTS:
                    answer = await sent(running.http, raw)
                    assert answer is None or answer.status in (200, 400, 404, 414, 431, 500), (raw[:80], answer)
                    assert await served(running.http, "good") == "web"
                assert running.process.reloads == 1

    asyncio.run(run())


async def sent(socket: Path, raw: bytes) -> Answer | None:
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_unix_connection(str(socket))
        writer.write(raw)
        found = b""
        with contextlib.suppress(ConnectionError):
            found = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    return parsed(found) if found else None
