"""The controller with a real HAProxy against the true API server: hosts, paths, annotations, changes, faults."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest

from apiserver.serving import serving
from clusterip.client.names import ENDPOINT_SLICES, EVENTS, INGRESSES, SECRETS, SERVICES
from clusterip.client.rest import Client
from clusterip.ingress import certificates
from clusterip.ingress.controller import Published
from clusterip.transport.certificates import new_authority
from ingress.harness import controller, endpoint, eventually, folder, ingress, meta, parsed, pods, service

pytestmark = pytest.mark.timeout(240)


async def said(client: Client, reason: str, words: str) -> bool:
    events = await client.list(EVENTS, "default")
    return any(each["reason"] == reason and words in each["message"] for each in events["items"])


async def tls_secret(client: Client, name: str, certificate: bytes, key: bytes) -> None:
    coded = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}
    await client.create(SECRETS, meta(SECRETS, name) | {"type": "kubernetes.io/tls", "data": coded})


def pid_of(state: Path) -> int:
    """Of the master; 0 while it is being replaced."""
    try:
        return int((state / "run.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


async def peer(socket: Path, name: str) -> str:
    """The certificate that is shown for a name, as PEM."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_unix_connection(str(socket), ssl=context, server_hostname=name)
    raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(raw)


def test_requests_go_by_host_and_path() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web", "api", "any") as servers:
            for pod in servers:
                await service(client, pod.name, pod)
            await ingress(client, "one", ("example.com", "/", "web"), ("example.com", "/api", "api"))
            await ingress(client, "two", ("*.example.com", "/named", "api"), ("", "/any", "any"))
            async with controller(api, place) as running:
                table = {
                    ("example.com", "/"): "web",
                    ("EXAMPLE.com:8080", "/apix"): "web",
                    ("example.com.", "/api"): "api",
                    ("example.com", "/api/x?a=/b"): "api",
                    ("example.com", "/x/%2e%2E/api"): "api",
                    ("a.example.com", "/named"): "api",
                    ("other", "/any/thing"): "any",
                }
                for (host, path), pod in table.items():
                    assert (await running.get(host, path)).pod == pod, (host, path)
                nowhere = {("a.b.example.com", "/named"): 404, ("other", "/"): 404, ("a.example.com", "/any"): 404}
                for (host, path), status in nowhere.items():
                    assert (await running.get(host, path)).status == status, (host, path)
                seen = (await running.get("example.com", "/", X_Forwarded_For="1.2.3.4", X_Real_IP="6.6.6.6")).seen
                assert "1.2.3.4" not in seen.get("x-forwarded-for", "")
                assert seen["x-forwarded-host"] == "example.com"
                assert seen["x-forwarded-proto"] == "http"
                # the address is shown
                tree = await eventually(lambda: shows(client, "one", "192.0.2.7"))
                assert tree["status"]["loadBalancer"] == {"ingress": [{"ip": "192.0.2.7"}]}

    asyncio.run(run())


async def shows(client: Client, name: str, address: str) -> Any:
    tree = await client.get(INGRESSES, name, "default")
    return tree if address in str(tree.get("status")) else None


def test_the_lessons_cookie() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("a", "b", "c") as servers:
            await service(client, "web", *servers)
            await ingress(
                client,
                "sticky",
                ("", "/shop", "web"),
                affinity="cookie",
                session_cookie_name="INGRESSCOOKIE",
                session_cookie_expires="172800",
            )
            await ingress(
                client,
                "full",
                ("full", "/", "web"),
                affinity="cookie",
                session_cookie_name="S-1",
                session_cookie_max_age="100",
                session_cookie_path="/p",
                session_cookie_samesite="lax",
                session_cookie_secure="true",
                session_cookie_domain="full.org",
            )
            async with controller(api, place) as running:
                first = await running.get("x", "/shop")
                form = r"INGRESSCOOKIE=[0-9a-f]+; Path=/shop; Expires=\w+, [^;]+ GMT; HttpOnly"
                assert re.fullmatch(form, first.set_cookies[0]), first.set_cookies
                cookie = first.set_cookies[0].partition(";")[0]
                answers = [await running.get("x", "/shop", Cookie=cookie) for _ in range(6)]
                assert {each.pod for each in answers} == {first.pod}
                assert [each.set_cookies for each in answers] == [[]] * 6
                assert {(await running.get("x", "/shop")).pod for _ in range(6)} == {"a", "b", "c"}
                # a forged one, and one whose pod is gone, lead elsewhere with a new cookie
                assert (await running.get("x", "/shop", Cookie="INGRESSCOOKIE=ffff")).set_cookies
                gone = next(number for number, pod in enumerate(servers) if pod.name == first.pod)
                await client.delete(ENDPOINT_SLICES, f"web-{gone}", "default")

                async def moved() -> bool:
                    answer = await running.get("x", "/shop", Cookie=cookie)
                    return answer.pod not in ("", first.pod) and bool(answer.set_cookies)

                await eventually(moved)
                form = r"S-1=[0-9a-f]+; Path=/p; Max-Age=100; Domain=full.org; SameSite=Lax; Secure; HttpOnly"
                assert re.fullmatch(form, (await running.get("full", "/")).set_cookies[0])

    asyncio.run(run())


def test_annotations() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("main", "new") as servers:
            for pod in servers:
                await service(client, pod.name, pod)
            kind = "ImplementationSpecific"
            await ingress(client, "rw", ("rw", "/app(/|$)(.*)", "main"), kind=kind, rewrite_target="/v1/$2")
            await ingress(client, "const", ("const", "/app", "main"), rewrite_target="/it's%20100%")
            await ingress(client, "move", ("move", "/", "main"), permanent_redirect="https://else/%7E?a=b")
            await ingress(client, "tls", ("tls", "/", "main"), force_ssl_redirect="true")
            await ingress(client, "size", ("size", "/", "main"), proxy_body_size="10")
            await ingress(client, "cors", ("cors", "/", "main"), enable_cors="true", cors_allow_origin="https://o.org")
            await ingress(client, "live", ("live", "/", "main"))
            await ingress(
                client,
                "canary",
                ("live", "/", "new"),
                canary="true",
                canary_weight="30",
                canary_by_header="X-New",
                canary_by_cookie="new",
            )
            await ingress(client, "odd", ("odd", "/", "main"), proxy_read_timeout="soon", server_snippet="evil {")
            async with controller(api, place) as running:
                assert (await running.get("rw", "/app/x/y?q=1")).path == "/v1/x/y?q=1"
                assert (await running.get("rw", "/application")).status == 404
                assert (await running.get("const", "/app/x")).path == "/it's%20100%"
                moved = await running.get("move", "/")
                assert (moved.status, moved.headers["location"]) == (301, "https://else/%7E?a=b")
                secure = await running.get("tls", "/a")
                assert (secure.status, secure.headers["location"]) == (308, "https://tls/a")
                assert (await running.get("size", "/", "POST", b"x" * 10)).pod == "main"
                assert (await running.get("size", "/", "POST", b"x" * 11)).status == 413
                asked = await running.get("cors", "/", "OPTIONS", Origin="https://o.org")
                assert asked.status == 204
                assert asked.headers["access-control-allow-origin"] == "https://o.org"
                other = await running.get("cors", "/", Origin="https://evil.org")
                assert other.pod == "main"
                assert "access-control-allow-origin" not in other.headers
                assert {(await running.get("live", "/", X_New="always")).pod for _ in range(5)} == {"new"}
                assert {(await running.get("live", "/", X_New="never")).pod for _ in range(20)} == {"main"}
                assert {(await running.get("live", "/", Cookie="new=always")).pod for _ in range(5)} == {"new"}
                found = [(await running.get("live", "/")).pod for _ in range(400)]
                assert 60 < found.count("new") < 190  # 120 are meant; a billion runs see none outside
                assert (await running.get("odd", "/")).pod == "main"
                await eventually(lambda: said(client, "BadAnnotation", "proxy-read-timeout: 'soon'"))
                await eventually(lambda: said(client, "BadAnnotation", "server-snippet: not supported"))

    asyncio.run(run())


def test_a_bad_ingress_takes_nobody_down() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web", "old") as servers:
            for pod in servers:
                await service(client, pod.name, pod)
            await ingress(client, "good", ("good", "/", "web"))
            async with controller(api, place) as running:
                # what Python takes for a regular expression, and HAProxy does not
                await ingress(
                    client,
                    "bad",
                    ("bad", "/(?P<a>x)(?(a)y|z|w)\\Z", "web"),
                    ("bad", "/x(?P=a", "web"),
                    kind="ImplementationSpecific",
                    use_regex="true",
                )
                await ingress(client, "worse", ("worse", "/", "web"), whitelist_source_range="10.0.0.0/99")
                await ingress(client, "lost", ("lost", "/", "nobody"))
                await ingress(client, "thief", ("good", "/", "old"))
                await eventually(lambda: said(client, "BadPath", "no regular expression"))
                await eventually(lambda: said(client, "BadAnnotation", "10.0.0.0/99"))
                await eventually(lambda: said(client, "BadBackend", "Service nobody is not there"))
                await eventually(lambda: said(client, "Conflict", "older Ingress default/good"))
                assert (await running.get("good", "/")).pod == "web"
                assert (await running.get("worse", "/")).pod == "web"
                assert (await running.get("lost", "/")).status == 503
                await service(client, "nobody", servers[1])

                async def served() -> bool:
                    return (await running.get("lost", "/")).pod == "old"

                await eventually(served)

    asyncio.run(run())


def test_endpoints_change_under_load_without_a_lost_request() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods(*"abcdef") as servers:
            await service(client, "web", servers[0])
            await ingress(client, "web", ("web", "/", "web"))
            async with controller(api, place) as running:
                statuses: list[int] = []
                stop = asyncio.Event()

                async def load() -> None:
                    while not stop.is_set():
                        statuses.append((await running.get("web", "/")).status)

                async def reaches(name: str) -> bool:
                    return (await running.get("web", "/")).pod == name

                async with asyncio.TaskGroup() as group:
                    for _ in range(4):
                        group.create_task(load())
                    for number in range(1, 6):
                        await endpoint(client, "web", number, servers[number])
                        await eventually(lambda name=servers[number].name: reaches(name))  # type: ignore[misc]
                        await client.delete(ENDPOINT_SLICES, f"web-{number - 1}", "default")
                    before = pid_of(place / "state")
                    await ingress(client, "more", ("more", "/", "web"))  # a reload

                    async def more() -> bool:
                        return (await running.get("more", "/")).status == 200

                    await eventually(more)
                    assert pid_of(place / "state") == before
                    stop.set()
                assert set(statuses) == {200}

    asyncio.run(run())


def test_tls_by_name() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web") as servers:
            await service(client, "web", servers[0])
            authority = new_authority("tests")
            one, two, three = (authority.server(name, [name]) for name in ("one.org", "two.org", "one.org"))
            await tls_secret(client, "one", one.certificate, one.key)
            await tls_secret(client, "mixed", one.certificate, two.key)
            await ingress(client, "one", ("one.org", "/", "web"), tls=[{"hosts": ["one.org"], "secretName": "one"}])
            await ingress(client, "bad", ("bad.org", "/", "web"), tls=[{"hosts": ["bad.org"], "secretName": "mixed"}])
            async with controller(api, place) as running:
                assert await peer(running.https, "one.org") in one.certificate.decode()
                default = await peer(running.https, "bad.org")
                assert default == await peer(running.https, "other.org")
                assert default not in one.certificate.decode()
                await eventually(lambda: said(client, "BadCertificate", "does not belong to its tls.crt"))
                assert (await running.get("one.org", "/")).status == 308
                context = ssl.create_default_context(cadata=authority.certificate.decode())
                reader, writer = await asyncio.open_unix_connection(
                    str(running.https), ssl=context, server_hostname="one.org"
                )
                writer.write(b"GET / HTTP/1.1\r\nHost: one.org\r\nConnection: close\r\n\r\n")
                answer = parsed(await reader.read(-1))
                writer.close()
                assert answer.pod == "web"
                assert answer.seen["x-forwarded-proto"] == "https"
                # another certificate, told without a reload
                coded = {"tls.crt": base64.b64encode(three.certificate).decode()}
                coded["tls.key"] = base64.b64encode(three.key).decode()
                await client.patch(SECRETS, "one", "default", {"data": coded}, type="merge")

                async def changed() -> bool:
                    return await peer(running.https, "one.org") in three.certificate.decode()

                await eventually(changed)
                assert running.process.reloads == 1

    asyncio.run(run())


def test_haproxy_killed_is_back_and_a_controller_takes_over() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web") as servers:
            await service(client, "web", servers[0])
            await ingress(client, "web", ("web", "/", "web"))

            async def answers() -> bool:
                try:
                    return (await running.get("web", "/")).pod == "web"
                except (OSError, IndexError, ValueError):
                    return False

            async with controller(api, place) as running:
                first = pid_of(place / "state")
                os.kill(first, signal.SIGKILL)

                async def another() -> bool:
                    return pid_of(place / "state") != first and await answers()

                await eventually(another)
                second = pid_of(place / "state")
            assert str(second) not in os.listdir("/proc")
            assert os.listdir(place / "state") == []

    asyncio.run(run())


def test_a_services_address_is_shown() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web") as servers:
            await service(client, "web", servers[0])
            await ingress(client, "web", ("web", "/", "web"))
            spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
            door = await client.create(SERVICES, meta(SERVICES, "door") | {"spec": spec})
            async with controller(api, place, Published(service=("default", "door"))):
                door["status"] = {"loadBalancer": {"ingress": [{"ip": "192.168.4.10"}]}}
                await client.update(SERVICES, door, "status")
                await eventually(lambda: shows(client, "web", "192.168.4.10"))

    asyncio.run(run())


def test_own_certificate_is_one() -> None:
    assert b"BEGIN CERTIFICATE" in certificates.own_certificate().pem
