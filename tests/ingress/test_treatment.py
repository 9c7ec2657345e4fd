"""How requests of one Ingress are treated: senders, clocks, upgrades, sessions, canaries; each on a real HAProxy."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from apiserver.serving import serving
from clusterip.client.names import ENDPOINT_SLICES, INGRESSES
from ingress.harness import Running, controller, endpoint, eventually, folder, get, ingress, pods, service

pytestmark = pytest.mark.timeout(240)


def test_senders_that_are_allowed_and_denied() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web") as servers:
            await service(client, "web", servers[0])
            await ingress(client, "a", ("a", "/", "web"), whitelist_source_range="10.1.0.0/16, 192.0.2.9,2001:db8::/32")
            await ingress(client, "d", ("d", "/", "web"), denylist_source_range="10.1.2.0/24")
            await ingress(client, "open", ("open", "/", "web"))
            async with controller(api, place) as running:
                table = {
                    ("a", "10.1.2.3"): 200,
                    ("a", "10.2.0.1"): 403,
                    ("a", "192.0.2.9"): 200,
                    ("a", "192.0.2.8"): 403,
                    ("a", "2001:db8::7"): 200,
                    ("a", "2001:db9::7"): 403,
                    ("d", "10.1.2.3"): 403,
                    ("d", "10.1.3.3"): 200,
                    ("open", "10.1.2.3"): 200,
                }
                for (host, sender), status in table.items():
                    assert (await get(running.proxied, host, "/", sender=sender)).status == status, (host, sender)
                # what a client claims is not believed
                claim = {"X_Forwarded_For": "10.1.2.3", "X_Real_IP": "10.1.2.3"}
                assert (await get(running.proxied, "a", "/", sender="10.2.0.1", **claim)).status == 403
                seen = (await get(running.proxied, "open", "/", sender="10.2.0.1", **claim)).seen
                assert (seen["x-forwarded-for"], seen["x-real-ip"], seen["x-forwarded-port"]) == (
                    *("10.2.0.1", "10.2.0.1"),
                    "80",
                )
                ids = {(await running.get("open", "/")).seen["x-request-id"] for _ in range(5)}
                assert len(ids) == 5
                assert (await running.get("open", "/", X_Request_ID="mine")).seen["x-request-id"] == "mine"

    asyncio.run(run())


def test_a_pod_that_takes_too_long_and_one_that_may() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("slow", "never") as servers:
            servers[0].delay, servers[1].delay = 1.5, 600.0
            for pod in servers:
                await service(client, pod.name, pod)
            await ingress(client, "short", ("short", "/", "never"), proxy_read_timeout="1", proxy_send_timeout="1")
            await ingress(client, "long", ("long", "/", "slow"), proxy_read_timeout="50")
            async with controller(api, place) as running:
                answers = await asyncio.gather(running.get("short", "/"), running.get("long", "/"))
                assert [each.status for each in answers] == [504, 200]

    asyncio.run(run())


def test_websockets_pass_and_outlive_a_reload() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("web") as servers:
            await service(client, "web", servers[0])
            await ingress(client, "web", ("web", "/", "web"), affinity="cookie")
            async with controller(api, place) as running, asyncio.timeout(100):
                reader, writer = await asyncio.open_unix_connection(str(running.http))
                writer.write(
                    b"GET /chat HTTP/1.1\r\nHost: web\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                )
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                assert head.startswith(b"http/1.1 101 ")
                assert b"upgrade: websocket" in head
                writer.write(b"\x81\x05hello")
                assert await reader.readexactly(7) == b"\x81\x05hello"
                before = running.process.reloads
                await ingress(client, "more", ("more", "/", "web"))
                await eventually(lambda: answers(running.http, "more"))
                await eventually(lambda: has_reloaded(running, before + 1))
                writer.write(b"\x81\x05still")
                assert await reader.readexactly(7) == b"\x81\x05still"
                writer.close()

    asyncio.run(run())


async def has_reloaded(running: Running, times: int) -> bool:
    return running.process.reloads == times


async def answers(socket: object, host: str) -> bool:
    return (await get(socket, host, "/")).status == 200  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["true", "false"])
def test_a_session_whose_pod_refuses(change: str) -> None:
    """It moves with a new cookie, or is told so; others go where somebody listens."""

    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("a", "b") as servers:
            await service(client, "web", *servers)
            notes = {"affinity": "cookie", "affinity_mode": "persistent", "session_cookie_change_on_failure": change}
            await ingress(client, "web", ("web", "/", "web"), **notes)
            async with controller(api, place) as running:
                first = await running.get("web", "/")
                cookie = first.set_cookies[0].partition(";")[0]
                next(pod for pod in servers if pod.name == first.pod).close()
                after = await running.get("web", "/", Cookie=cookie)
                if change == "true":
                    assert after.pod not in ("", first.pod)
                    assert after.set_cookies
                else:
                    assert (after.status, after.set_cookies) == (503, [])

    asyncio.run(run())


def test_sessions_stay_when_pods_are_added() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods(*"abcd") as servers:
            await service(client, "web", *servers[:2])
            await ingress(client, "web", ("web", "/", "web"), affinity="cookie", session_cookie_name="S")
            async with controller(api, place) as running:
                held: dict[str, str] = {}
                for _ in range(6):
                    answer = await running.get("web", "/")
                    held[answer.set_cookies[0].partition(";")[0]] = answer.pod
                assert set(held.values()) == {"a", "b"}
                for number in (2, 3):
                    await endpoint(client, "web", number, servers[number])

                async def are_all_in() -> bool:
                    return {(await running.get("web", "/")).pod for _ in range(8)} == set("abcd")

                await eventually(are_all_in)
                for cookie, pod in held.items():
                    assert (await running.get("web", "/", Cookie=cookie)).pod == pod
                # a reload changes no session either
                await ingress(client, "more", ("more", "/", "web"))
                await eventually(lambda: answers(running.http, "more"))
                for cookie, pod in held.items():
                    assert (await running.get("web", "/", Cookie=cookie)).pod == pod
                assert await eventually(lambda: has_reloaded(running, 2))

    asyncio.run(run())


CANARY = {"canary": "true", "canary_by_header": "X-C", "canary_by_cookie": "c"}
ALL, NONE = {"new"}, {"main"}
# annotations, then headers of a request and where it goes
CANARIES = {
    "header": (
        CANARY | {"canary_weight": "0"},
        [
            ({"X_C": "always"}, ALL),
            ({"X_C": "never", "Cookie": "c=always"}, NONE),  # the header is asked first
            ({"X_C": "else", "Cookie": "c=always"}, ALL),  # and says nothing
            ({"X_C": "else", "Cookie": "c=never"}, NONE),
            ({"Cookie": "c=always"}, ALL),
            ({"Cookie": "c=else"}, NONE),
            ({}, NONE),
        ],
    ),
    "value": (
        CANARY | {"canary_by_header_value": "it's 100%", "canary_weight": "0"},
        [
            ({"X_C": "it's 100%"}, ALL),
            ({"X_C": "always"}, NONE),
            ({"X_C": "never", "Cookie": "c=always"}, ALL),  # with a value, never is not one
        ],
    ),
    "pattern": (
        CANARY | {"canary_by_header_pattern": "^v[0-9]+$"},
        [({"X_C": "v12"}, ALL), ({"X_C": "w12"}, NONE), ({"X_C": "w12", "Cookie": "c=always"}, ALL)],
    ),
    "weight": (
        CANARY | {"canary_weight": "5", "canary_weight_total": "5"},
        [({}, ALL), ({"X_C": "never"}, NONE), ({"Cookie": "c=never"}, NONE)],
    ),
}


def test_what_sends_a_request_to_the_canary() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("main", "new") as servers:
            for pod in servers:
                await service(client, pod.name, pod)
            for name, (notes, _) in CANARIES.items():
                await ingress(client, f"m-{name}", (name, "/", "main"))
                await ingress(client, f"c-{name}", (name, "/", "new"), **notes)
            async with controller(api, place) as running:
                for name, (_, table) in CANARIES.items():
                    for headers, pods_ in table:
                        found = {(await running.get(name, "/", **headers)).pod for _ in range(3)}
                        assert found == pods_, (name, headers)

    asyncio.run(run())


def test_when_the_main_ingress_goes_its_canary_is_nothing() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client, folder() as place, pods("main", "new") as servers:
            for pod in servers:
                await service(client, pod.name, pod)
            await ingress(client, "m", ("h", "/", "main"))
            await ingress(client, "c", ("h", "/", "new"), canary="true", canary_weight="50")
            async with controller(api, place) as running:
                found = Counter([(await running.get("h", "/")).pod for _ in range(100)])
                assert set(found) == {"main", "new"}  # both within a hundred: 2**-99 that not
                await client.delete(INGRESSES, "m", "default")

                async def nowhere() -> bool:
                    return (await running.get("h", "/")).status == 404

                await eventually(nowhere)
                await client.delete(ENDPOINT_SLICES, "new-0", "default")

    asyncio.run(run())
