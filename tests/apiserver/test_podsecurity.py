"""A namespace's labels ask something of its pods: refused, warned of, left alone."""

from __future__ import annotations

from typing import Any

from apiserver.wire import PODS, Wire, account, pod, served
from clusterip.apiserver.podsecurity import prioritized

LABEL = "pod-security.kubernetes.io/"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


async def labelled(wire: Wire, **labels: str) -> None:
    await account(wire)
    given = {LABEL + mode.replace("_", "-"): level for mode, level in labels.items()}
    await wire.ok("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": given}}, type="merge")


def test_pods_are_refused_and_templates_warned_of() -> None:
    async def run(wire: Wire) -> None:
        await labelled(wire, enforce="baseline", warn="restricted", warn_version="v1.30")
        code, told = await wire("POST", PODS, pod("a", hostPID=True))
        assert code == 403
        said = 'pods "a" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
        assert told["message"] == said
        await wire.ok("POST", PODS, pod("a"))
        assert 'would violate PodSecurity \\"restricted:v1.30\\": allowPrivilegeEscalation' in wire.last["Warning"]
        template: Any = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x", hostPID=True)["spec"]}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        await wire.ok("POST", DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})
        assert 'would violate PodSecurity \\"restricted:v1.30\\": host namespaces' in wire.last["Warning"]

    served(run)


def test_only_new_images_and_containers_count_in_a_change() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", PODS, pod("a", hostPID=True, nodeName="n"))
        await wire.ok(
            "PATCH",
            "/api/v1/namespaces/default",
            {"metadata": {"labels": {f"{LABEL}enforce": "baseline"}}},
            type="merge",
        )
        await wire.ok("PATCH", f"{PODS}/a", {"metadata": {"labels": {"x": "y"}}}, type="merge")
        image = {"spec": {"containers": [{"name": "c", "image": "other"}]}}
        assert (await wire("PATCH", f"{PODS}/a", image, type="strategic"))[0] == 403
        debug = {"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox"}]}}
        assert (await wire("PATCH", f"{PODS}/a/ephemeralcontainers", debug, type="strategic"))[0] == 403

    served(run)


def test_a_namespace_that_asks_more_is_told_of_its_pods() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", PODS, pod("b", hostPID=True))
        await wire.ok("POST", PODS, pod("a", hostPID=True))
        await wire.ok("POST", PODS, pod("c"))
        asked = {"metadata": {"labels": {f"{LABEL}enforce": "baseline"}}}
        await wire.ok("PATCH", "/api/v1/namespaces/default", asked, type="merge")
        first, second = wire.last.getall("Warning")
        violate = 'existing pods in namespace \\"default\\" violate the new PodSecurity enforce level'
        assert first == f'299 - "{violate} \\"baseline:latest\\""'
        assert second == '299 - "a (and 1 other pod): host namespaces"'
        await wire.ok("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": {"x": "y"}}}, type="merge")
        assert "Warning" not in wire.last

    served(run)


def test_labels_that_mean_nothing_are_refused_once() -> None:
    async def run(wire: Wire) -> None:
        labels = {f"{LABEL}warn": "strict", f"{LABEL}audit-version": "1.30", f"{LABEL}enforce-version": "v1.30"}
        code, told = await wire("POST", "/api/v1/namespaces", {"metadata": {"name": "n", "labels": labels}})
        assert code == 422
        assert [(cause["field"], cause["message"]) for cause in told["details"]["causes"]] == [
            (
                f"metadata.labels[{LABEL}audit-version]",
                'Invalid value: "1.30": must be "latest" or "v1.x"',
            ),
            (
                f"metadata.labels[{LABEL}warn]",
                'Invalid value: "strict": must be one of privileged, baseline, restricted',
            ),
        ]

    served(run)


def test_who_enforces_a_level_is_warned_by_it() -> None:
    async def run(wire: Wire) -> None:
        await labelled(wire, enforce="baseline")
        template: Any = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x", hostPID=True)["spec"]}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        await wire.ok("POST", DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})
        assert 'would violate PodSecurity \\"baseline:latest\\": host namespaces' in wire.last["Warning"]

    served(run)


def test_one_pod_of_each_controller_is_looked_at_first() -> None:
    def of(name: str, owner: str) -> dict[str, Any]:
        owners = [{"uid": owner, "controller": True}] if owner else []
        return {"metadata": {"name": name, "ownerReferences": owners}}

    found = prioritized([of("a", "x"), of("b", "x"), of("c", ""), of("d", "y"), of("e", "")])
    assert [each["metadata"]["name"] for each in found] == ["a", "c", "d", "e", "b"]
