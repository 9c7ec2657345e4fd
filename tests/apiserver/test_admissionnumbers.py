"""What admission counts, and what it says in the audit log: something is done, and the number moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from apiserver.hooks import MUTATING, VALIDATING, configuration, hooked, patch
from apiserver.wire import CONFIGMAPS, PODS, Wire, account, config_map, pod, served
from clusterip.apiserver.admissionnumbers import METRICS, AdmissionNumbers
from clusterip.apiserver.audit import policy_of
from clusterip.apiserver.auditlog import AuditLog, Keeping
from clusterip.apiserver.traffic import Operation
from clusterip.transport.exposition import Registry

GROUP = "/apis/admissionregistration.k8s.io/v1"
HEAD, CHECKS = "apiserver_admission_", "apiserver_validating_admission_policy_check_total"
RULES = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}


async def numbers(wire: Wire) -> dict[str, float]:
    _, text = await wire("GET", "/metrics")
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def step(wire: Wire, kind: str, operation: str, rejected: str = "false") -> float:
    labels = f'type="{kind}",operation="{operation}",rejected="{rejected}"'
    return (await numbers(wire)).get(f"{HEAD}step_admission_duration_seconds_count{{{labels}}}", 0.0)


def test_each_step_of_each_operation_is_timed() -> None:
    async def run(wire: Wire) -> None:
        before = {
            (kind, operation): await step(wire, kind, operation)
            for kind in ("admit", "validate")
            for operation in ("CREATE", "UPDATE", "DELETE")
        }
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        await wire.ok("PATCH", f"{CONFIGMAPS}/a", {"data": {"k": "v"}}, type="merge")
        await wire.ok("DELETE", f"{CONFIGMAPS}/a")
        for (kind, operation), count in before.items():
            assert await step(wire, kind, operation) == count + 1, (kind, operation)
        assert (await wire("POST", "/api/v1/namespaces/none/configmaps", config_map("a")))[0] == 404
        assert (await wire("DELETE", "/api/v1/namespaces/default"))[0] == 403
        assert await step(wire, "admit", "CREATE", "true") == 1
        assert await step(wire, "admit", "DELETE", "true") == 1

    served(run)


def test_single_plugins_are_timed() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", PODS, pod("p"))
        assert (await wire("POST", PODS, pod("q", priority=5)))[0] == 403
        found = await numbers(wire)

        def of(name: str, kind: str, operation: str, rejected: str = "false") -> float:
            labels = f'name="{name}",type="{kind}",operation="{operation}",rejected="{rejected}"'
            return found.get(f"{HEAD}controller_admission_duration_seconds_count{{{labels}}}", 0.0)

        assert of("Priority", "admit", "CREATE") == 1
        assert of("Priority", "admit", "CREATE", "true") == 1
        assert of("PodSecurity", "validate", "CREATE") >= 1
        assert of("LimitRanger", "admit", "CREATE") == 1
        assert of("ServiceAccount", "admit", "CREATE") == 2

    served(run)


async def listed(wire: Wire, ref: Any, client: Any, **fields: Any) -> None:
    await wire.ok("POST", f"{GROUP}/{ref.plural}", configuration(ref, client, **fields))


def test_webhooks_are_counted_by_what_they_come_to() -> None:
    async def run(wire: Wire) -> None:
        no = {"allowed": False, "status": {"code": 418, "message": "no"}}
        async with hooked(lambda request: no if request["name"] == "bad" else {"allowed": True}) as hook:
            only = [{"name": "no-other", "expression": "object.metadata.name != 'other'"}]
            await listed(wire, VALIDATING, hook.client, matchConditions=only)
            for name in ("good", "bad", "other"):
                await wire("POST", CONFIGMAPS, config_map(name))
        found = await numbers(wire)
        where = 'name="one.example.com",type="validating",operation="CREATE"'
        assert found[f'{HEAD}webhook_request_total{{{where},code="200",rejected="false"}}'] == 1
        assert found[f'{HEAD}webhook_request_total{{{where},code="418",rejected="true"}}'] == 1
        assert found[f'{HEAD}webhook_rejection_count{{{where},error_type="no_error",rejection_code="418"}}'] == 1
        assert found[f'{HEAD}webhook_admission_duration_seconds_count{{{where},rejected="false"}}'] == 1
        condition = 'name="one.example.com",kind="webhook",type="validate",operation="CREATE"'
        assert found[f"{HEAD}match_condition_exclusions_total{{{condition}}}"] == 1
        assert found[f"{HEAD}match_condition_evaluation_seconds_count{{{condition}}}"] == 3

    served(run)


def test_webhooks_that_are_away_refuse_or_are_open() -> None:
    async def run(wire: Wire) -> None:
        async with hooked(lambda request: {"allowed": True}) as hook:
            gone = hook.client
        await listed(wire, MUTATING, gone, failurePolicy="Ignore")
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        await listed(wire, VALIDATING, gone)
        assert (await wire("POST", CONFIGMAPS, config_map("b")))[0] == 500
        found = await numbers(wire)
        where = 'name="one.example.com",type="{}"'
        assert found[f"{HEAD}webhook_fail_open_count{{{where.format('admit')}}}"] == 2
        away = 'operation="CREATE",error_type="calling_webhook_error",rejection_code="503"'
        assert found[f"{HEAD}webhook_rejection_count{{{where.format('validating')},{away}}}"] == 1
        assert await step(wire, "validate", "CREATE", "true") == 1

    served(run)


async def policy(wire: Wire, spec: Any, *actions: str) -> None:
    tree = {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [RULES]}, **spec}}
    await wire.ok("POST", f"{GROUP}/validatingadmissionpolicies", tree)
    bound = {"policyName": "p", "validationActions": list(actions)}
    await wire.ok("POST", f"{GROUP}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": bound})


def audited(body: Any, folder: Path, level: str = "Metadata") -> dict[str, dict[str, str]]:
    """The annotations of requests, by their Audit-Id."""
    rules = [{"level": level, "omitStages": ["RequestReceived"]}]
    log = AuditLog(Keeping(str(folder / "audit.log")))
    log.open()
    chosen = policy_of({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules})
    served(body, operation=Operation(policy=chosen, log=log))
    log.close()
    events = [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]
    return {event["auditID"]: event["annotations"] for event in events}


def test_what_policies_say_is_in_the_audit_log(tmp_path: Path) -> None:
    async def run(wire: Wire) -> None:
        validations = [{"expression": "true"}, {"expression": "!has(object.data)", "message": "no data, please"}]
        says = [
            {"key": "who", "valueExpression": "'it is ' + object.metadata.name"},
            {"key": "nothing", "valueExpression": "null"},
        ]
        await policy(wire, {"validations": validations, "auditAnnotations": says}, "Audit", "Warn")
        await wire.ok("POST", CONFIGMAPS, config_map("a", k="v"), Audit_Id="create")
        found = await numbers(wire)
        for action in ("audit", "warn"):
            labels = f'policy="p",policy_binding="b",error_type="no_error",enforcement_action="{action}"'
            assert found[f"{CHECKS}{{{labels}}}"] == 1

    annotations = audited(run, tmp_path)["create"]
    assert annotations["p/who"] == "it is a"
    assert "p/nothing" not in annotations
    assert json.loads(annotations["validation.policy.admission.k8s.io/validation_failure"]) == [
        {
            "message": "no data, please",
            "policy": "p",
            "binding": "b",
            "expressionIndex": 1,
            "validationActions": ["Audit", "Warn"],
        }
    ]


def test_an_audit_annotation_that_fails_refuses_whatever_the_actions_are() -> None:
    async def run(wire: Wire) -> None:
        says = [{"key": "who", "valueExpression": "object.data.missing"}]
        await policy(wire, {"auditAnnotations": says}, "Audit")
        status, told = await wire("POST", CONFIGMAPS, config_map("a", k="v"))
        assert status == 422
        assert "expression 'object.data.missing' resulted in error" in told["message"]
        labels = 'policy="p",policy_binding="b",error_type="invalid_error",enforcement_action="deny"'
        assert (await numbers(wire))[f"{CHECKS}{{{labels}}}"] == 1

    served(run)


def test_what_webhooks_did_is_in_the_audit_log(tmp_path: Path) -> None:
    change = patch({"op": "add", "path": "/data/x", "value": "y"})

    async def run(wire: Wire) -> None:
        async with hooked(lambda request: {**change, "auditAnnotations": {"why": "because"}}) as hook:
            await listed(wire, MUTATING, hook.client)
            await wire.ok("POST", CONFIGMAPS, config_map("a", k="v"), Audit_Id="create")
        await listed(wire, VALIDATING, hook.client, failurePolicy="Ignore")
        await wire.ok("DELETE", f"{GROUP}/mutatingwebhookconfigurations/hooks")
        await wire.ok("POST", CONFIGMAPS, config_map("b", k="v"), Audit_Id="open")

    for level in ("Metadata", "Request"):
        folder = tmp_path / level
        folder.mkdir()
        found = audited(run, folder, level)
        created = found["create"]
        assert created["one.example.com/why"] == "because"
        did = {"configuration": "hooks", "webhook": "one.example.com", "mutated": True}
        assert json.loads(created["mutation.webhook.admission.k8s.io/round_0_index_0"]) == did
        assert ("patch.webhook.admission.k8s.io/round_0_index_0" in created) == (level == "Request")
        failed = "failed-open.validating.webhook.admission.k8s.io/round_0_index_0"
        assert found["open"][failed] == "one.example.com"


def test_what_a_namespace_asks_of_pods_is_in_the_audit_log(tmp_path: Path) -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", PODS, pod("a"), Audit_Id="free")
        labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/audit": "restricted"}
        await wire.ok("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": labels}}, type="merge")
        await wire.ok("POST", PODS, pod("b"), Audit_Id="watched")
        assert "Warning" not in wire.last

    found = audited(run, tmp_path)
    assert found["free"]["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest"
    assert "pod-security.kubernetes.io/audit-violations" not in found["free"]
    assert found["watched"]["pod-security.kubernetes.io/enforce-policy"] == "baseline:latest"
    said = found["watched"]["pod-security.kubernetes.io/audit-violations"]
    assert said.startswith('would violate PodSecurity "restricted:latest": allowPrivilegeEscalation')


def test_codes_are_bounded() -> None:
    registry = Registry(METRICS)
    counted = AdmissionNumbers(registry)
    counted.called("a", "admit", "CREATE", 0.1, 987, "no_error")
    text, labels = registry.render(), 'name="a",type="admit",operation="CREATE"'
    assert f'{HEAD}webhook_request_total{{{labels},code="600",rejected="true"}} 1' in text
    assert f'{HEAD}webhook_rejection_count{{{labels},error_type="no_error",rejection_code="600"}} 1' in text
