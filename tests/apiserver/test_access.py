"""Who may do what, with which credentials; and what the questions about it answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from apiserver.wire import CONFIGMAPS, PODS, Wire, account, config_map, pod, served
from clusterip.apiserver.access import NOBODY, Ask, TableAuthorizer, User, refusal
from clusterip.apiserver.tokens import Bound, Signer, account_claims, user_of
from clusterip.clock import ManualClock
from clusterip.transport.certificates import new_signing_key

PROXY = User(
    "system:serviceaccount:kube-system:kube-proxy",
    ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"),
)
SCHEDULER = User("system:kube-scheduler", ("system:authenticated",))
JANE = User("jane", ("system:authenticated",))


@pytest.mark.parametrize(
    ("user", "ask", "allowed"),
    [
        (NOBODY, Ask("get", path="/version"), True),
        (NOBODY, Ask("get", path="/readyz/ping"), True),
        (NOBODY, Ask("get", path="/api"), False),
        (NOBODY, Ask("list", resource="pods"), False),
        (JANE, Ask("get", path="/apis/apps/v1"), True),
        (JANE, Ask("create", "authorization.k8s.io", "selfsubjectaccessreviews"), True),
        (JANE, Ask("get", resource="secrets", namespace="default", name="s"), False),
        (PROXY, Ask("watch", "discovery.k8s.io", "endpointslices"), True),
        (PROXY, Ask("update", "coordination.k8s.io", "leases", namespace="kube-system", name="kube-proxy-n"), True),
        (PROXY, Ask("delete", resource="pods", namespace="default", name="x"), False),
        (SCHEDULER, Ask("create", resource="pods", subresource="binding", namespace="a", name="b"), True),
        (SCHEDULER, Ask("create", resource="secrets", namespace="a"), False),
        (User("x", ("system:masters",)), Ask("escalate", "rbac", "anything"), True),
    ],
)
def test_the_table(user: User, ask: Ask, allowed: bool) -> None:
    assert TableAuthorizer().allows(user, ask) is allowed


def test_refusals_use_upstreams_words() -> None:
    error = refusal(JANE, Ask("list", resource="pods", namespace="a"))
    assert error.message == (
        'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "a"'
    )
    error = refusal(NOBODY, Ask("get", path="/api"))
    assert error.message == 'forbidden: User "system:anonymous" cannot get path "/api"'


def test_tokens_end_with_time_audience_signature_and_their_pod() -> None:
    signer, other = Signer(new_signing_key().key), Signer(new_signing_key().key)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    bound = Bound("Pod", "p", "pod-uid")
    claims = account_claims(signer, "ns", "sa", "uid", ["here"], now, 600, "id", bound, ("node-1", "n-uid"))
    token = signer.sign(claims)
    assert other.claims(token) is None
    head, _, signature = token.rpartition(".")
    assert signer.claims(f"{head}.{signature[::-1]}") is None
    assert signer.claims(f"{head[:-1]}.{signature}") is None
    assert signer.claims("a.b.c") is None
    believed = signer.claims(token)
    assert believed == claims
    living = {("ServiceAccount", "ns", "sa", "uid"), ("Pod", "ns", "p", "pod-uid")}

    def user(moment: datetime, audience: str = "here", alive: set = living) -> User | None:
        return user_of(claims, signer, [audience], moment, lambda *key: key in alive)

    found = user(now)
    assert found is not None
    assert found.name == "system:serviceaccount:ns:sa"
    assert "system:serviceaccounts:ns" in found.groups
    assert dict(found.extra)["authentication.kubernetes.io/pod-name"] == ("p",)
    assert user(now + timedelta(seconds=601)) is None
    assert user(now, "there") is None
    for gone in living:
        assert user(now, alive=living - {gone}) is None


def test_credentials_over_the_wire() -> None:
    async def body(wire: Wire) -> None:
        wire.headers = {"Authorization": "Bearer wrong"}
        assert (await wire("GET", PODS))[0] == 401
        wire.headers = {}
        assert (await wire("GET", PODS))[0] == 403
        assert (await wire("GET", "/readyz"))[0] == 200
        async with wire.api.client("system:node:node-1", "system:nodes") as node:
            from clusterip.client.names import NODES

            made = await node.create(NODES, {"metadata": {"name": "node-1"}})
            assert made["metadata"]["name"] == "node-1"

    served(body)


def test_a_pods_token_lives_as_long_as_the_pod() -> None:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))

    async def body(wire: Wire) -> None:
        await account(wire, "app")
        made = await wire.ok("POST", PODS, pod("p", serviceAccountName="app"))
        reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}
        path = "/api/v1/namespaces/default/serviceaccounts/app/token"
        asked = await wire.ok("POST", path, {"spec": {"boundObjectRef": reference, "expirationSeconds": 3607}})
        other = Wire(wire.api, wire.session, asked["status"]["token"])
        review = await other.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
        assert review["status"]["userInfo"]["username"] == "system:serviceaccount:default:app"
        assert (await other("GET", CONFIGMAPS))[0] == 403
        await wire.ok("DELETE", f"{PODS}/p?gracePeriodSeconds=0")
        clock.advance(3)
        assert (await other("GET", "/api"))[0] == 401
        wrong = {"spec": {"boundObjectRef": reference}}
        assert (await wire("POST", path, wrong))[0] == 404

    served(body, clock=clock)


def test_pods_get_their_account_mounted() -> None:
    async def body(wire: Wire) -> None:
        status, refused = await wire("POST", PODS, pod("early"))
        assert (status, "service account" in refused["message"]) == (403, True)
        await account(wire)
        made = (await wire.ok("POST", PODS, pod("p")))["spec"]
        volume = made["volumes"][0]["name"]
        assert volume.startswith("kube-api-access-")
        assert made["containers"][0]["volumeMounts"][0]["name"] == volume
        assert made["serviceAccountName"] == "default"
        assert [each["key"] for each in made["tolerations"]] == [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ]
        plain = (await wire.ok("POST", PODS, pod("q", automountServiceAccountToken=False)))["spec"]
        assert "volumes" not in plain

    served(body)


def test_may_i() -> None:
    async def body(wire: Wire) -> None:
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        about = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}}
        assert (await wire.ok("POST", path, about))["status"] == {"allowed": True}
        as_jane = await wire.ok("POST", path, about, Impersonate_User="jane")
        assert as_jane["status"] == {"allowed": False}
        status, refused = await wire("POST", CONFIGMAPS, config_map("a"), Impersonate_User="jane")
        assert (status, refused["reason"]) == (403, "Forbidden")

    served(body)


def test_the_signing_key_is_published() -> None:
    async def body(wire: Wire) -> None:
        keys = await wire.ok("GET", "/openid/v1/jwks")
        assert json.loads(keys)["keys"][0]["kid"] == wire.api.server.core.signer.key_id
        assert json.dumps(keys)

    served(body)


def test_an_update_that_leaves_them_out_keeps_the_default_tolerations() -> None:
    async def body(wire: Wire) -> None:
        await account(wire)
        made = await wire.ok("POST", PODS, pod("p"))
        made["spec"]["tolerations"] = [{"key": "x", "operator": "Exists", "effect": "NoSchedule"}]
        kept = await wire.ok("PUT", f"{PODS}/p", made)
        assert {each["key"] for each in kept["spec"]["tolerations"]} == {
            "x", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
        }  # fmt: skip

    served(body)
