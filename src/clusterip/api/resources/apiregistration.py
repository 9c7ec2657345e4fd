"""APIService: who serves a version of a group, this server or another behind a Service.

Stage: none; a record and its pure functions.
Rules: a version that is served here is there at once; whether another server is there is found out by asking it.
Truth: kube-aggregator's apis/apiregistration validation, strategy and printer of 1.36; kube-apiserver's priorities.
"""

from __future__ import annotations

from clusterip.api import names
from clusterip.api.checks import reasons
from clusterip.api.errors import FieldError, invalid, required
from clusterip.api.meta import Tree, name_of
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import keep_status, only_status
from clusterip.api.tables import AGE, NAME, at, fixed

ROOT = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1."
HTTPS = 443
BOUNDS = (("groupPriorityMinimum", 20000), ("versionPriority", 1000))
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
AT_START, ALWAYS = "onstart", "true"
"""Made when the server starts, and kept for as long as a definition is there."""
PRIORITIES: dict[str, int] = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
}
DEFINED = (1000, 100)
"""The priorities of what definitions serve."""
VERSION_PRIORITIES = {"v1.": 1, "v1.flowcontrol.apiserver.k8s.io": 21, "v1.resource.k8s.io": 21, "v2.autoscaling": 30}
VERSION_PRIORITY = 15
OWN_GROUP = "apiregistration.k8s.io"
"""The one group that no APIService speaks of."""


def local_service(group: str, version: str) -> Tree:
    """The APIService of a version that is served here."""
    name = f"{version}.{group}"
    built_in = group in PRIORITIES
    priority = (PRIORITIES[group], VERSION_PRIORITIES.get(name, VERSION_PRIORITY)) if built_in else DEFINED
    return {
        "metadata": {"name": name, "labels": {AUTOMANAGED: AT_START if built_in else ALWAYS}},
        "spec": {
            **({"group": group} if group else {}),
            "version": version,
            "groupPriorityMinimum": priority[0],
            "versionPriority": priority[1],
        },
    }


def condition(status: str, reason: str, message: str, since: str) -> Tree:
    """What is said of whether it can be asked."""
    said = {"type": "Available", "status": status, "lastTransitionTime": since}
    return {**said, "reason": reason, "message": message}


def local_condition(since: str) -> Tree:
    return condition("True", "Local", "Local APIServices are always available", since)


def _default(tree: Tree) -> None:
    service = (tree.get("spec") or {}).get("service")
    if service is not None:
        service["port"] = service.get("port") or HTTPS


def _prepare_create(tree: Tree) -> None:
    is_local = (tree.get("spec") or {}).get("service") is None
    tree["status"] = {"conditions": [local_condition(tree["metadata"].get("creationTimestamp"))]} if is_local else {}


def _validate(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    found: list[FieldError] = []
    if name_of(tree) != f"{version}.{group}":
        why = f'must be `spec.version+"."+spec.group`: "{version}.{group}"'
        found.append(invalid("metadata.name", name_of(tree), why))
    if not group and version != "v1":
        found.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    found += reasons("spec.group", group, names.subdomain) if group else []
    found += reasons("spec.version", version, names.label_1035)
    for field, most in BOUNDS:
        if not 0 < (spec.get(field) or 0) <= most:
            found.append(invalid(f"spec.{field}", spec.get(field) or 0, f"must be positive and less than {most}"))
    return found + _trust(spec) + (_service(spec["service"]) if spec.get("service") is not None else [])


def _trust(spec: Tree) -> list[FieldError]:
    bundle, insecure = spec.get("caBundle"), bool(spec.get("insecureSkipTLSVerify"))
    found: list[FieldError] = []
    if spec.get("service") is None:
        if bundle:
            found.append(invalid("spec.caBundle", bundle, "local APIServices may not have a caBundle"))
        if insecure:
            why = "local APIServices may not have insecureSkipTLSVerify"
            found.append(invalid("spec.insecureSkipTLSVerify", insecure, why))
    elif insecure and bundle:
        found.append(invalid("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present"))
    return found


def _service(service: Tree) -> list[FieldError]:
    found = [required(f"spec.service.{field}") for field in ("namespace", "name") if not service.get(field)]
    wrong = names.port_number(service.get("port") or 0)
    return found + (
        [invalid("spec.service.port", service.get("port"), "port is not valid: " + ", ".join(wrong))] if wrong else []
    )


def _where(tree: Tree) -> str:
    service = at(tree, "spec", "service")
    return f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"


def _available(tree: Tree) -> str:
    for condition in at(tree, "status", "conditions") or ():
        if condition.get("type") == "Available":
            words = [condition.get("status") or ""]
            words += [f"({condition.get('reason')})"] if words != ["True"] else []
            return " ".join(words)
    return ""


API_SERVICE = Resource(
    group="apiregistration.k8s.io",
    version="v1",
    kind="APIService",
    plural="apiservices",
    singular="apiservice",
    namespaced=False,
    categories=("api-extensions",),
    schema=f"{ROOT}APIService",
    columns=(
        NAME,
        Column("Service", fixed(_where), says="The reference to the service that hosts this API endpoint."),
        Column("Available", fixed(_available), says="Whether this service is available."),
        AGE,
    ),
    subresources={"status": Subresource(kind="APIService")},
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=keep_status,
    prepare_status=only_status(),
    validate=_validate,
    validate_update=lambda new, old: _validate(new),
)
