"""APIService: another API server's part of the API. Stored, served, judged; nobody is asked, and its status says so.

Stage: none; a record and its pure functions.
Truth: kube-aggregator's apis/apiregistration validation, strategy and printer of 1.36.
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
UNAVAILABLE: Tree = {
    "type": "Available",
    "status": "False",
    "reason": "NotAggregated",
    "message": "this API server does not ask others",
}


def _default(tree: Tree) -> None:
    service = (tree.get("spec") or {}).get("service")
    if service is not None:
        service["port"] = service.get("port") or HTTPS


def _prepare_create(tree: Tree) -> None:
    tree["status"] = {"conditions": [dict(UNAVAILABLE)]}


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
