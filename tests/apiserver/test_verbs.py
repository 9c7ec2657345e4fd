"""The verbs over the wire: what is kept, what is refused, what a deletion does."""

from __future__ import annotations

import asyncio

import pytest

from apiserver.wire import CONFIGMAPS, PODS, SERVICES, Wire, account, config_map, pod, served, service


def test_lists_come_in_pages_of_one_revision() -> None:
    async def body(wire: Wire) -> None:
        for n in range(5):
            await wire.ok("POST", CONFIGMAPS, config_map(f"c{n}"))
        first = await wire.ok("GET", f"{CONFIGMAPS}?limit=2")
        assert first["metadata"]["remainingItemCount"] == 3
        await wire.ok("DELETE", f"{CONFIGMAPS}/c3")
        await wire.ok("POST", CONFIGMAPS, config_map("c9"))
        token = first["metadata"]["continue"]
        second = await wire.ok("GET", f"{CONFIGMAPS}?limit=2&continue={token}")
        third = await wire.ok("GET", f"{CONFIGMAPS}?limit=2&continue={second['metadata']['continue']}")
        names = [item["metadata"]["name"] for page in (first, second, third) for item in page["items"]]
        assert names == ["c0", "c1", "c2", "c3", "c4"]
        assert {page["metadata"]["resourceVersion"] for page in (first, second, third)} == {
            first["metadata"]["resourceVersion"]
        }
        assert "continue" not in third["metadata"]

    served(body)


def test_a_list_whose_revision_is_gone_goes_on_with_what_is_there() -> None:
    async def body(wire: Wire) -> None:
        for n in range(5):
            await wire.ok("POST", CONFIGMAPS, config_map(f"c{n}"))
        first = await wire.ok("GET", f"{CONFIGMAPS}?limit=2")
        other = await wire.ok("POST", SERVICES, service("s"))
        store = wire.api.server.core.store
        await store.compact(store.revision)
        code, status = await wire("GET", f"{CONFIGMAPS}?limit=2&continue={first['metadata']['continue']}")
        assert (code, status["reason"]) == (410, "Expired")
        second = await wire.ok("GET", f"{CONFIGMAPS}?limit=2&continue={status['metadata']['continue']}")
        assert [item["metadata"]["name"] for item in second["items"]] == ["c2", "c3"]
        assert second["metadata"]["remainingItemCount"] == 1
        assert int(second["metadata"]["resourceVersion"]) >= int(other["metadata"]["resourceVersion"])
        third = await wire.ok("GET", f"{CONFIGMAPS}?limit=2&continue={second['metadata']['continue']}")
        assert [item["metadata"]["name"] for item in third["items"]] == ["c4"]

    served(body)


def test_pods_go_gracefully_and_services_at_once() -> None:
    async def body(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", PODS, pod("waiting"))
        await wire.ok("DELETE", f"{PODS}/waiting")
        assert (await wire("GET", f"{PODS}/waiting"))[0] == 404  # no node, nobody to wait for
        made = await wire.ok("POST", PODS, pod("a"))
        target = {"kind": "Node", "name": "node-1"}
        await wire.ok("POST", f"{PODS}/a/binding", {"metadata": {"name": "a"}, "target": target})
        going = await wire.ok("DELETE", f"{PODS}/a")
        assert going["metadata"]["deletionGracePeriodSeconds"] == 30
        hurried = await wire.ok("DELETE", f"{PODS}/a?gracePeriodSeconds=5")
        assert hurried["metadata"]["deletionGracePeriodSeconds"] == 5
        assert hurried["metadata"]["deletionTimestamp"] < going["metadata"]["deletionTimestamp"]
        slow = await wire.ok("DELETE", f"{PODS}/a?gracePeriodSeconds=60")
        assert slow["metadata"]["deletionGracePeriodSeconds"] == 5
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
        assert (await wire("DELETE", f"{PODS}/a", options))[0] == 409
        options["preconditions"]["uid"] = made["metadata"]["uid"]
        await wire.ok("DELETE", f"{PODS}/a", options)
        assert (await wire("GET", f"{PODS}/a"))[0] == 404

    served(body)


def test_finalizers_hold_an_object_until_the_last_is_gone() -> None:
    async def body(wire: Wire) -> None:
        held = config_map("a")
        held["metadata"]["finalizers"] = ["example.com/one"]
        await wire.ok("POST", CONFIGMAPS, held)
        marked = await wire.ok("DELETE", f"{CONFIGMAPS}/a")
        again = await wire.ok("DELETE", f"{CONFIGMAPS}/a")
        assert marked["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
        events: list = []
        path = f"{CONFIGMAPS}?watch=1&resourceVersion={marked['metadata']['resourceVersion']}"
        watching = asyncio.ensure_future(wire.watch(path, events, lambda: bool(events)))
        await wire.ok("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}}, type="merge")
        await watching
        assert events[0][0] == "DELETED"
        assert (await wire("GET", f"{CONFIGMAPS}/a"))[0] == 404

    served(body)


def test_a_namespace_is_emptied_by_others_and_removed_by_finalize() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
        deleted = await wire.ok("DELETE", "/api/v1/namespaces/n")
        assert deleted["status"]["phase"] == "Terminating"
        status, refused = await wire("POST", "/api/v1/namespaces/n/configmaps", config_map("late"))
        assert (status, refused["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
        deleted["spec"] = {}
        await wire.ok("PUT", "/api/v1/namespaces/n/finalize", deleted)
        assert (await wire("GET", "/api/v1/namespaces/n"))[0] == 404

    served(body)


def test_concurrent_updates_of_one_revision_have_one_winner() -> None:
    async def body(wire: Wire) -> None:
        made = await wire.ok("POST", CONFIGMAPS, config_map("a", n="0"))
        bodies = [{**made, "data": {"n": str(n)}} for n in range(1, 9)]
        answers = await asyncio.gather(*(wire("PUT", f"{CONFIGMAPS}/a", each) for each in bodies))
        assert sorted(status for status, _ in answers) == [200] + [409] * 7

    served(body)


def test_concurrent_patches_all_arrive() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        patches = [{"data": {f"k{n}": str(n)}} for n in range(20)]
        await asyncio.gather(*(wire.ok("PATCH", f"{CONFIGMAPS}/a", each, type="merge") for each in patches))
        assert len((await wire.ok("GET", f"{CONFIGMAPS}/a"))["data"]) == 20

    served(body)


def test_nothing_changed_is_nothing_written() -> None:
    async def body(wire: Wire) -> None:
        made = await wire.ok("POST", CONFIGMAPS, config_map("a", k="v"))
        same = await wire.ok("PATCH", f"{CONFIGMAPS}/a", {"data": {"k": "v"}}, type="strategic")
        put = await wire.ok("PUT", f"{CONFIGMAPS}/a", config_map("a", k="v"))
        assert made == same == put

    served(body)


def test_a_dry_run_shows_and_keeps_nothing() -> None:
    async def body(wire: Wire) -> None:
        shown = await wire.ok("POST", f"{SERVICES}?dryRun=All", service("s", clusterIP="10.96.9.9"))
        assert shown["spec"]["clusterIPs"] == ["10.96.9.9"]
        assert "resourceVersion" not in shown["metadata"]
        assert (await wire("GET", f"{SERVICES}/s"))[0] == 404
        await wire.ok("POST", SERVICES, service("t", clusterIP="10.96.9.9"))
        assert (await wire.ok("DELETE", f"{SERVICES}/t?dryRun=All"))["metadata"]["name"] == "t"
        await wire.ok("GET", f"{SERVICES}/t")
        status, refused = await wire("POST", f"{SERVICES}?dryRun=Some", service("u"))
        assert (status, refused["details"]["causes"][0]["field"]) == (422, "dryRun")

    served(body)


def test_unknown_fields_are_told_refused_or_ignored() -> None:
    async def body(wire: Wire) -> None:
        typo = {**config_map("a"), "dta": {"k": "v"}}
        await wire.ok("POST", CONFIGMAPS, typo)
        assert wire.last["Warning"] == '299 - "unknown field \\"dta\\""'
        await wire.ok("POST", f"{CONFIGMAPS}?fieldValidation=Ignore", {**typo, "metadata": {"name": "b"}})
        assert "Warning" not in wire.last
        status, refused = await wire(
            "POST", f"{CONFIGMAPS}?fieldValidation=Strict", {**typo, "metadata": {"name": "c"}}
        )
        assert status == 400
        assert 'strict decoding error: unknown field "dta"' in refused["message"]

    served(body)


def test_bodies_that_cannot_be_are_refused_and_the_server_goes_on() -> None:
    async def body(wire: Wire) -> None:
        for raw, kind, expected in (
            (b"{not json", "application/json", 400),
            (b"", "application/json", 400),
            (b"[1]", "application/json", 400),
            (b"\xff\xfe", "application/json", 400),
            (b"k8s\0garbage", "application/vnd.kubernetes.protobuf", 400),
            (b"<xml/>", "text/xml", 415),
            (b"x" * (3 * 1024 * 1024 + 1), "application/json", 413),
        ):
            status, refused = await wire("POST", CONFIGMAPS, raw, type=kind)
            assert (status, refused["kind"], refused["status"]) == (expected, "Status", "Failure"), raw[:20]
        for raw in (b"{", b"[]", b'"x"', b'{"metadata": 3}', b'{"metadata": {"labels": 3}}'):
            await wire.ok("POST", CONFIGMAPS, config_map("a")) if raw == b"{" else None
            for how in ("merge", "strategic", "json"):
                status, refused = await wire("PATCH", f"{CONFIGMAPS}/a", raw, type=how)
                assert 200 <= status < 300 or (400 <= status < 500 and refused["kind"] == "Status"), (raw, how, refused)
        await wire.ok("GET", CONFIGMAPS)

    served(body)


def test_service_addresses_and_ports_are_given_kept_and_freed() -> None:
    async def body(wire: Wire) -> None:
        made = await wire.ok("POST", SERVICES, service("a", type="NodePort"))
        address, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
        for taken in ({"clusterIP": address}, {"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]}):
            status, refused = await wire("POST", SERVICES, service("b", **taken))
            assert status == 422, refused
        plain = await wire.ok("PATCH", f"{SERVICES}/a", {"spec": {"type": "ClusterIP"}}, type="strategic")
        assert plain["spec"]["clusterIP"] == address
        assert "nodePort" not in plain["spec"]["ports"][0]
        await wire.ok("POST", SERVICES, service("b", type="NodePort", ports=[{"port": 1, "nodePort": port}]))
        await wire.ok("GET", f"/apis/networking.k8s.io/v1/ipaddresses/{address}")
        await wire.ok("DELETE", f"{SERVICES}/a")
        assert (await wire("GET", f"/apis/networking.k8s.io/v1/ipaddresses/{address}"))[0] == 404
        await wire.ok("POST", SERVICES, service("c", clusterIP=address))

    served(body)


def test_many_services_at_once_never_share() -> None:
    async def body(wire: Wire) -> None:
        made = await asyncio.gather(*(wire.ok("POST", SERVICES, service(f"s{n}", type="NodePort")) for n in range(60)))
        assert len({each["spec"]["clusterIP"] for each in made}) == 60
        assert len({each["spec"]["ports"][0]["nodePort"] for each in made}) == 60

    served(body)


def test_deletecollection_takes_what_is_selected() -> None:
    async def body(wire: Wire) -> None:
        for n in range(4):
            tree = config_map(f"c{n}")
            tree["metadata"]["labels"] = {"even": str(n % 2 == 0)}
            await wire.ok("POST", CONFIGMAPS, tree)
        gone = await wire.ok("DELETE", f"{CONFIGMAPS}?labelSelector=even%3DTrue")
        assert [item["metadata"]["name"] for item in gone["items"]] == ["c0", "c2"]
        left = await wire.ok("GET", CONFIGMAPS)
        assert [item["metadata"]["name"] for item in left["items"]] == ["c1", "c3"]

    served(body)


def test_a_job_deleted_without_a_policy_leaves_its_pods_and_says_so() -> None:
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}

    async def body(wire: Wire) -> None:
        for name in ("a", "b", "c"):
            await wire.ok("POST", jobs, {"metadata": {"name": name}, "spec": {"template": template}})
        await wire.ok("DELETE", f"{jobs}/a?propagationPolicy=Background")
        assert "Warning" not in wire.last
        await wire.ok("DELETE", f"{jobs}/b")
        assert "child pods are preserved by default when jobs are deleted" in wire.last["Warning"]
        await wire.ok("DELETE", jobs)
        assert "child pods are preserved by default when jobs are deleted" in wire.last["Warning"]

    served(body)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_what_is_not_relayed_is_refused_and_changes_nothing(method: str) -> None:
    async def body(wire: Wire) -> None:
        made = await wire.ok("POST", SERVICES, service("a"))
        status, told = await wire(method, f"{SERVICES}/a/proxy/", None if method == "GET" else made)
        assert (status, told["kind"]) == (404, "Status")
        assert await wire.ok("GET", f"{SERVICES}/a") == made

    served(body)
