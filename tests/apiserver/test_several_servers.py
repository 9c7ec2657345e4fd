"""Several API servers on one etcd: each sees the others' writes, and together they decide as one would."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from apiserver.serving import serving
from apiserver.wire import CONFIGMAPS, SERVICES, Wire, config_map, service
from clusterip.api.allocation import Ranges
from clusterip.apiserver.core import Settings
from clusterip.store import etcd as etcdstore
from clusterip.store.etcd import opened
from clusterip.store.etcdclient import EtcdClient
from store.etcdserver import Etcd, etcd

PATIENCE = 200


@pytest.fixture(scope="module")
def server() -> Iterator[Etcd]:
    with etcd() as found:
        yield found


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers and writers wait for an etcd that a busy machine makes slow."""
    monkeypatch.setattr(etcdstore, "WRITE_SECONDS", 60.0)
    monkeypatch.setattr(etcdstore, "TRY_SECONDS", 30.0)


@asynccontextmanager
async def server_on(endpoints: Any, **options: Any) -> AsyncIterator[Wire]:
    async with opened(endpoints) as store, serving(store=store, seed=None, **options) as api:
        context = ssl.create_default_context(cadata=api.ca.decode())
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            yield Wire(api, session)


def with_servers(server: Etcd, test: Callable[..., Awaitable[None]], count: int = 2, **options: Any) -> None:
    async def run() -> None:
        endpoints = server.endpoints()
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(server_on(endpoints, **options)) for _ in range(count)]
            await asyncio.wait_for(test(*wires), PATIENCE)

    asyncio.run(run())


def test_what_one_acknowledged_the_other_has(server: Etcd) -> None:
    async def body(one: Wire, other: Wire) -> None:
        for n in range(20):
            await one.ok("POST", CONFIGMAPS, config_map(f"m{n}", n=str(n)))
            found = await other.ok("GET", f"{CONFIGMAPS}/m{n}")
            assert found["data"] == {"n": str(n)}
            await other.ok("DELETE", f"{CONFIGMAPS}/m{n}")
            assert (await one("GET", f"{CONFIGMAPS}/m{n}"))[0] == 404
            await one.ok("POST", CONFIGMAPS, config_map(f"m{n}", n="again"))
        lists = [await wire.ok("GET", CONFIGMAPS) for wire in (one, other)]
        assert lists[0] == lists[1]

    with_servers(server, body)


def test_a_patch_that_changes_nothing_here_is_judged_on_what_others_wrote(server: Etcd) -> None:
    async def body(one: Wire, other: Wire) -> None:
        await one.ok("POST", CONFIGMAPS, config_map("m", n="1"))
        for n in range(10):
            await one.ok("PATCH", f"{CONFIGMAPS}/m", {"data": {"n": f"a{n}"}}, type="merge")
            await other.ok("PATCH", f"{CONFIGMAPS}/m", {"data": {"n": "1"}}, type="merge")
            assert (await one.ok("GET", f"{CONFIGMAPS}/m"))["data"]["n"] == "1"

    with_servers(server, body)


def test_both_write_at_once_and_every_watcher_sees_one_order(server: Etcd) -> None:
    async def body(*wires: Wire) -> None:
        seen: list[list[tuple[str, Any]]] = [[] for _ in wires]
        wanted = 2 * 40 * len(wires)
        watches = [
            asyncio.ensure_future(
                wire.watch(
                    f"{CONFIGMAPS}?watch=1&resourceVersion=1", events, lambda events=events: len(events) >= wanted
                )
            )
            for wire, events in zip(wires, seen, strict=True)
        ]

        async def write(wire: Wire, who: int) -> None:
            for n in range(40):
                await wire.ok("POST", CONFIGMAPS, config_map(f"w{who}-{n}", n="0"))
                await wire.ok("PATCH", f"{CONFIGMAPS}/w{who}-{n}", {"data": {"n": "1"}}, type="merge")

        await asyncio.gather(*(write(wire, number) for number, wire in enumerate(wires)))
        await asyncio.gather(*watches)
        stories = [[(kind, each["metadata"]["resourceVersion"]) for kind, each in events] for events in seen]
        assert all(story == stories[0] for story in stories)
        revisions = [int(revision) for _, revision in stories[0]]
        assert revisions == sorted(set(revisions))

    with_servers(server, body, count=3)


def test_an_answer_that_comes_after_the_news_is_no_reason_to_decide_again(
    server: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch tells of one's own write and of the one after it before etcd's answer is here."""
    usual = EtcdClient.transact

    async def late(client: EtcdClient, *arguments: Any) -> Any:
        done = await usual(client, *arguments)
        await asyncio.sleep(0.02)
        return done

    monkeypatch.setattr(EtcdClient, "transact", late)

    async def body(*wires: Wire) -> None:
        async def write(wire: Wire, who: int) -> None:
            for n in range(20):
                await wire.ok("POST", CONFIGMAPS, config_map(f"w{who}-{n}"))

        await asyncio.gather(*(write(wire, number) for number, wire in enumerate(wires)))

    with_servers(server, body, count=3)


def test_a_counter_that_all_increment_loses_nothing(server: Etcd) -> None:
    async def body(*wires: Wire) -> None:
        await wires[0].ok("POST", CONFIGMAPS, config_map("c", n="0"))

        async def increment(wire: Wire) -> None:
            for _ in range(15):
                while True:
                    found = await wire.ok("GET", f"{CONFIGMAPS}/c")
                    found["data"]["n"] = str(int(found["data"]["n"]) + 1)
                    status, tree = await wire("PUT", f"{CONFIGMAPS}/c", found)
                    if status == 200:
                        break
                    assert status == 409, tree

        await asyncio.gather(*(increment(wire) for wire in wires for _ in range(2)))
        assert (await wires[0].ok("GET", f"{CONFIGMAPS}/c"))["data"]["n"] == "60"

    with_servers(server, body)


def test_no_address_and_no_node_port_is_given_twice(server: Etcd) -> None:
    async def body(*wires: Wire) -> None:
        async def create(wire: Wire, name: str) -> dict[str, Any]:
            tree = service(name)
            tree["spec"]["type"] = "NodePort"
            status, found = await wire("POST", SERVICES, tree)
            assert status == 201 or "range is full" in found["message"], found
            return found if status == 201 else {}

        made = await asyncio.gather(*(create(wire, f"s{who}-{n}") for n in range(25) for who, wire in enumerate(wires)))
        made = [each for each in made if each]
        addresses = Counter(each["spec"]["clusterIP"] for each in made)
        ports = Counter(port["nodePort"] for each in made for port in each["spec"]["ports"])
        assert not [each for each, count in (addresses | ports).items() if count > 1]
        assert len(made) == 40  # as many as there are node ports: none leaks, none is given twice

    settings = Settings(ranges=Ranges(node_ports=range(30000, 30040)))
    with_servers(server, body, settings=settings)


def test_deletions_that_others_overtake_are_decided_again(server: Etcd) -> None:
    async def body(*wires: Wire) -> None:
        async def come_and_go(wire: Wire, who: int) -> None:
            for n in range(15):
                await wire.ok("POST", SERVICES, service(f"g{who}-{n}"))
                await wire.ok("DELETE", f"{SERVICES}/g{who}-{n}")

        await asyncio.gather(*(come_and_go(wire, 2 * who + n) for n in range(2) for who, wire in enumerate(wires)))
        for wire in wires:
            assert [each["metadata"]["name"] for each in (await wire.ok("GET", SERVICES))["items"]] == ["kubernetes"]

    with_servers(server, body, count=3)


def test_a_quota_holds_for_all_servers_together(server: Etcd) -> None:
    async def body(*wires: Wire) -> None:
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "10"}}}
        await wires[0].ok("POST", "/api/v1/namespaces/default/resourcequotas", quota)
        before = len((await wires[0].ok("GET", CONFIGMAPS))["items"])
        answers = await asyncio.gather(
            *(wire("POST", CONFIGMAPS, config_map(f"q{who}-{n}")) for n in range(15) for who, wire in enumerate(wires))
        )
        assert Counter(status for status, _ in answers) == {201: 10 - before, 403: 20 + before}

    with_servers(server, body)


def test_a_kind_defined_at_one_is_served_by_the_other(server: Etcd) -> None:
    async def body(one: Wire, other: Wire) -> None:
        names = {"plural": "toys", "singular": "toy", "kind": "Toy", "listKind": "ToyList"}
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        spec = {"group": "example.org", "scope": "Namespaced", "names": names, "versions": [version]}
        tree = {"metadata": {"name": "toys.example.org"}, "spec": spec}
        tree |= {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
        await one.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", tree)
        toys = "/apis/example.org/v1/namespaces/default/toys"
        toy = {"apiVersion": "example.org/v1", "kind": "Toy", "metadata": {"name": "bear"}}
        await one.ok("POST", toys, toy)
        await other.ok("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/toys.example.org")
        assert (await other.ok("GET", f"{toys}/bear"))["metadata"]["name"] == "bear"

    with_servers(server, body)


def test_a_role_given_at_one_counts_at_the_other(server: Etcd) -> None:
    async def body(one: Wire, other: Wire) -> None:
        rbac = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        review = {"spec": {"user": "jane", "resourceAttributes": {"verb": "list", "resource": "pods"}}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        assert not (await other.ok("POST", path, review))["status"]["allowed"]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}
        await one.ok("POST", rbac, {"metadata": {"name": "jane"}, "roleRef": role, "subjects": [subject]})
        await other.ok("GET", f"{rbac}/jane")
        assert (await other.ok("POST", path, review))["status"]["allowed"]

    with_servers(server, body)


def test_one_operation_of_many_writes_goes_in_groups_that_etcd_takes(server: Etcd) -> None:
    async def body(one: Wire, other: Wire) -> None:
        await asyncio.gather(*(one.ok("POST", CONFIGMAPS, config_map(f"m{n}", n="x" * 9000)) for n in range(400)))
        assert len((await other.ok("GET", CONFIGMAPS))["items"]) >= 400
        status, tree = await one("POST", CONFIGMAPS, config_map("big", n="x" * 2_000_000))
        assert status == 413 or (status, tree["reason"]) == (422, "Invalid"), tree
        await other.ok("DELETE", CONFIGMAPS)
        assert (await one.ok("GET", CONFIGMAPS))["items"] == []

    with_servers(server, body)
