"""Policies in CEL: what they refuse and how, of whom, with which params, and what happens when they fail."""

from __future__ import annotations

from typing import Any

from apiserver.wire import CONFIGMAPS, Wire, config_map, served

GROUP = "/apis/admissionregistration.k8s.io/v1"
POLICIES, BINDINGS = f"{GROUP}/validatingadmissionpolicies", f"{GROUP}/validatingadmissionpolicybindings"
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}


async def policy(wire: Wire, *validations: Any, actions: tuple[str, ...] = ("Deny",), **spec: Any) -> None:
    """Policy p with these validations (an expression alone will do), bound by b."""
    rules = {"resourceRules": [spec.pop("rule", RULE)]}
    reference, match = spec.pop("paramRef", None), spec.pop("bindTo", None)
    listed = [{"expression": each} if isinstance(each, str) else each for each in validations]
    tree = {"metadata": {"name": "p"}, "spec": {"matchConstraints": rules, "validations": listed, **spec}}
    await wire.ok("POST", POLICIES, tree)
    bound: dict[str, Any] = {"policyName": "p", "validationActions": list(actions)}
    bound |= {"paramRef": reference} if reference else {}
    bound |= {"matchResources": match} if match else {}
    await wire.ok("POST", BINDINGS, {"metadata": {"name": "b"}, "spec": bound})


async def refused(wire: Wire, tree: Any, why: str, code: int = 422, **more: str) -> Any:
    status, told = await wire("POST", CONFIGMAPS, tree, **more)
    assert (status, told["message"].partition(" denied request: ")[2]) == (code, why), told
    return told


def test_a_refusal_and_its_words() -> None:
    async def run(wire: Wire) -> None:
        await policy(
            wire,
            "object.data.size != 'x'",
            {"expression": "object.data.size != 'y'", "message": "no y", "reason": "Forbidden"},
            {"expression": "object.data.size != 'z'", "messageExpression": "'not ' + object.data.size"},
        )
        told = await refused(wire, config_map("a", size="x"), "failed expression: object.data.size != 'x'")
        head = "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "
        assert told["message"].startswith(head)
        assert told["reason"] == "Invalid"
        await refused(wire, config_map("a", size="y"), "no y", 403)
        await refused(wire, config_map("a", size="z"), "not z")
        await wire.ok("POST", CONFIGMAPS, config_map("a", size="w"))
        status, _ = await wire("PATCH", f"{CONFIGMAPS}/a", {"data": {"size": "x"}}, type="merge")
        assert status == 422

    served(run)


def test_what_expressions_see() -> None:
    async def run(wire: Wire) -> None:
        await policy(
            wire,
            "variables.size == 'small' || request.operation == 'UPDATE'",
            "oldObject == null",
            "namespaceObject.metadata.name == 'default'",
            "params.data.limit == '5'",
            "authorizer.group('').resource('pods').namespace('default').check('create').allowed()",
            "authorizer.requestResource.check('delete').allowed()",
            "!authorizer.serviceAccount('default', 'x').path('/metrics').check('get').allowed()",
            variables=[
                {"name": "data", "expression": "object.data"},
                {"name": "size", "expression": "variables.data.s"},
            ],
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            paramRef={"name": "limits", "namespace": "kube-system", "parameterNotFoundAction": "Deny"},
        )
        missing = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        await refused(wire, config_map("a", s="small"), missing)
        code, _ = await wire("POST", "/api/v1/namespaces/kube-system/configmaps", config_map("limits", limit="5"))
        assert code == 422  # by the policy itself
        other = "/api/v1/namespaces/kube-system/configmaps"
        await wire.ok("PATCH", f"{BINDINGS}/b", {"spec": {"validationActions": ["Audit"]}}, type="merge")
        assert (await wire("POST", other, config_map("limits", limit="5")))[0] == 422
        await wire.ok("DELETE", f"{BINDINGS}/b")
        await wire.ok("POST", other, config_map("limits", limit="5"))
        reference = {"name": "limits", "namespace": "kube-system", "parameterNotFoundAction": "Deny"}
        bound = {"policyName": "p", "validationActions": ["Deny"], "paramRef": reference}
        await wire.ok("POST", BINDINGS, {"metadata": {"name": "b"}, "spec": bound})
        await wire.ok("POST", CONFIGMAPS, config_map("a", s="small"))
        await refused(wire, config_map("c", s="large"), "failed expression: " + SIZES)
        await refused(wire, config_map("c"), "expression '" + SIZES + "' resulted in error: " + UNSET)

    served(run)


SIZES = "variables.size == 'small' || request.operation == 'UPDATE'"
UNSET = 'composited variable "size" fails to evaluate: composited variable "data" fails to evaluate: no such key: data'


def test_warnings_failures_and_conditions() -> None:
    async def run(wire: Wire) -> None:
        await policy(
            wire,
            "object.data.size != 'x'",
            actions=("Warn",),
            failurePolicy="Ignore",
            matchConditions=[{"name": "not-exempt", "expression": "object.metadata.name != 'exempt'"}],
        )
        await wire.ok("POST", CONFIGMAPS, config_map("a", size="x"))
        said = (
            "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: object.data.size"
        )
        assert said in wire.last["Warning"]
        await wire.ok("POST", CONFIGMAPS, config_map("exempt", size="x"))
        assert "Warning" not in wire.last
        await wire.ok("POST", CONFIGMAPS, config_map("without"))  # fails, and that is ignored
        assert "Warning" not in wire.last

    served(run)


def test_selectors_and_excluded_rules() -> None:
    async def run(wire: Wire) -> None:
        only = {"objectSelector": {"matchLabels": {"watched": "yes"}}}
        await policy(wire, "false", bindTo=only)
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        watched = config_map("b")
        watched["metadata"]["labels"] = {"watched": "yes"}
        await refused(wire, watched, "failed expression: false")
        excluded = {"excludeResourceRules": [{**RULE, "resourceNames": ["b"]}]}
        await wire.ok("PATCH", f"{POLICIES}/p", {"spec": {"matchConstraints": excluded}}, type="merge")
        await wire.ok("POST", CONFIGMAPS, watched)

    served(run)


def test_deletes_and_subresources() -> None:
    async def run(wire: Wire) -> None:
        rule = {**RULE, "operations": ["DELETE"]}
        await policy(wire, "oldObject.data.keep != 'yes'", rule=rule)
        await wire.ok("POST", CONFIGMAPS, config_map("a", keep="yes"))
        assert (await wire("DELETE", f"{CONFIGMAPS}/a"))[0] == 422
        await wire.ok("POST", CONFIGMAPS, config_map("b", keep="no"))
        await wire.ok("DELETE", f"{CONFIGMAPS}/b")

    served(run)


def test_an_expression_that_cannot_be_is_refused_with_the_policy() -> None:
    async def run(wire: Wire) -> None:
        spec = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "object.("}]}
        code, told = await wire("POST", POLICIES, {"metadata": {"name": "p"}, "spec": spec})
        assert code == 422
        assert "spec.validations[0].expression" in told["message"]
        assert "compilation failed" in told["message"]

    served(run)


def test_a_rule_that_does_not_end_is_stopped() -> None:
    async def run(wire: Wire) -> None:
        ten = "[0,1,2,3,4,5,6,7,8,9]"
        text = f"{ten}.all(a,{ten}.all(b,{ten}.all(c,{ten}.all(d,{ten}.all(e,{ten}.all(f, a+b+c+d+e+f >= 0))))))"
        await policy(wire, text)
        code, told = await wire("POST", CONFIGMAPS, config_map("a"))
        assert code == 422
        assert "budget exceeded" in told["message"]

    served(run)
