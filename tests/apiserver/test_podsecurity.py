"""A namespace's labels ask something of its pods: refused, warned of, left alone."""

from __future__ import annotations

from typing import Any

from apiserver.wire import PODS, Wire, account, pod, served

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
