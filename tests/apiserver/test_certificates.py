"""Who may ask for certificates, approve and sign them; and what each of the three may write."""

from __future__ import annotations

import base64
from typing import Any

from apiserver.requests import CSRS, signing_request
from apiserver.wire import Wire, served

APPROVED = {"type": "Approved", "status": "True", "reason": "Tested", "message": "yes"}


def test_who_asks_is_told_and_nobody_gets_the_administrators_group() -> None:
    async def run(wire: Wire) -> None:
        tree, _ = signing_request("a", "jane", "dev")
        tree["spec"]["username"] = "somebody-else"
        made = await wire.ok("POST", CSRS, tree)
        assert made["spec"]["username"] == "kubernetes-admin"
        assert made["spec"]["groups"] == ["system:masters", "system:authenticated"]
        code, answer = await wire("POST", CSRS, signing_request("b", "jane", "system:masters")[0])
        assert code == 403
        assert "use of kubernetes.io/kube-apiserver-client signer with system:masters group" in answer["message"]

    served(run)


def test_approval_changes_conditions_only_and_the_status_the_certificate() -> None:
    async def run(wire: Wire) -> None:
        made = await wire.ok("POST", CSRS, signing_request("a", "jane")[0])
        made["status"] = {"conditions": [APPROVED], "certificate": "eA=="}
        approved = await wire.ok("PUT", f"{CSRS}/a/approval", made)
        assert "certificate" not in approved["status"]
        condition = approved["status"]["conditions"][0]
        assert condition["lastUpdateTime"] == condition["lastTransitionTime"] != ""
        certificate = base64.b64encode(wire.api.ca).decode()
        signed = await wire.ok("PATCH", f"{CSRS}/a/status", {"status": {"certificate": certificate}}, type="merge")
        assert signed["status"]["conditions"] == approved["status"]["conditions"]
        for side, patch, why in (
            ("status", {"conditions": []}, 'updates may not remove a condition of type "Approved"'),
            ("status", {"certificate": "eA=="}, "updates may not modify existing certificate content"),
            ("approval", {"conditions": [APPROVED, {**APPROVED, "type": "Denied"}]}, "mutually exclusive"),
        ):
            code, answer = await wire("PATCH", f"{CSRS}/a/{side}", {"status": patch}, type="merge")
            assert code == 422, answer
            assert why in answer["message"]

    served(run)


def test_approving_and_signing_are_permissions_on_signers() -> None:
    async def run(wire: Wire) -> None:
        await wire.ok("POST", CSRS, signing_request("a", "jane")[0])
        roles = "/apis/rbac.authorization.k8s.io/v1/cluster"
        rules: list[dict[str, Any]] = [
            {"apiGroups": ["certificates.k8s.io"], "verbs": ["*"],
             "resources": ["certificatesigningrequests", "certificatesigningrequests/approval"]},
        ]  # fmt: skip
        role = {"metadata": {"name": "approver"}, "rules": rules}
        await wire.ok("POST", f"{roles}roles", role)
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "approver"}
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}]
        binding = {"metadata": {"name": "approver"}, "roleRef": reference, "subjects": subjects}
        await wire.ok("POST", f"{roles}rolebindings", binding)
        patch = {"status": {"conditions": [APPROVED]}}
        as_joe = {"Impersonate_User": "joe"}
        code, answer = await wire("PATCH", f"{CSRS}/a/approval", patch, type="merge", **as_joe)
        assert code == 403
        assert "user not permitted to approve requests with signerName" in answer["message"]
        rules.append({"apiGroups": ["certificates.k8s.io"], "verbs": ["approve"], "resources": ["signers"],
                      "resourceNames": ["kubernetes.io/*"]})  # fmt: skip
        await wire.ok("PUT", f"{roles}roles/approver", role)
        await wire.ok("PATCH", f"{CSRS}/a/approval", patch, type="merge", **as_joe)

    served(run)
