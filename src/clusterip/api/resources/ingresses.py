"""Ingress and IngressClass: HTTP ways to Services.

Stage: none; records and their pure functions.  Rules: stored and judged here; what acts on them is another part.
Truth: kube-apiserver's apis/networking validation and printer, recorded answers of 1.36.
"""

from __future__ import annotations

from collections.abc import Callable

from clusterip.api import address_warnings, names
from clusterip.api.addresses import is_address
from clusterip.api.checks import each, immutable, reasons, supported
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required, too_long
from clusterip.api.meta import Tree, annotations_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import first_generation, next_generation, only_status
from clusterip.api.tables import AGE, NAME, NONE, SHOWN, at, fixed

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
IN_PATH, AT_END = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
LONGEST_CONTROLLER = 250
SCOPES = ("Cluster", "Namespace")


# --- Ingress ---------------------------------------------------------------------------------------------------------


def _validate(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    found: list[FieldError] = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        found.append(invalid("spec", None, "either `defaultBackend` or `rules` must be specified"))
    if spec.get("defaultBackend") is not None:
        found += _backend("spec.defaultBackend", spec["defaultBackend"])
    for path, rule in each("spec.rules", spec.get("rules")):
        found += _rule(path, rule)
    for path, tls in each("spec.tls", spec.get("tls")):
        found += _tls(path, tls)
    if spec.get("ingressClassName") is not None:
        found += reasons("spec.ingressClassName", spec["ingressClassName"], names.subdomain)
    return found


def _validate_create(tree: Tree) -> list[FieldError]:
    """The annotation of old and the field may both be there, when they agree."""
    asked, name = annotations_of(tree).get(CLASS_ANNOTATION), at(tree, "spec", "ingressClassName")
    found = _validate(tree)
    if asked is not None and name is not None and asked != name:
        path = f"metadata.annotations[{CLASS_ANNOTATION}]"
        found.append(invalid(path, asked, "must match `ingressClassName` when both are specified"))
    return found


def _validate_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate(new)


def _host(path: str, host: str) -> list[FieldError]:
    return reasons(path, host, names.wildcard_subdomain if "*" in host else names.subdomain)


def _rule(path: str, rule: Tree) -> list[FieldError]:
    host, found = rule.get("host") or "", list[FieldError]()
    if host:
        if is_address(host):
            found.append(invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        found += _host(f"{path}.host", host) if "*" in host or not found else []
    http = rule.get("http")
    if http is None:
        return found
    if not http.get("paths"):
        found.append(required(f"{path}.http.paths"))
    for where, each_path in each(f"{path}.http.paths", http.get("paths")):
        found += _path(where, each_path)
    return found


def _path(where: str, rule: Tree) -> list[FieldError]:
    kind, path = rule.get("pathType"), rule.get("path") or ""
    if kind is None:
        return [required(f"{where}.pathType", "pathType must be specified")]
    found: list[FieldError] = []
    if kind not in PATH_TYPES:
        found.append(not_supported(f"{where}.pathType", kind, PATH_TYPES))
    elif kind == "ImplementationSpecific":
        if path and not path.startswith("/"):
            found.append(invalid(f"{where}.path", path, "must be an absolute path"))
    else:
        found += [invalid(f"{where}.path", path, reason) for reason in _path_reasons(path)]
    return found + _backend(f"{where}.backend", rule.get("backend") or {})


def _path_reasons(path: str) -> list[str]:
    found = [] if path.startswith("/") else ["must be an absolute path"]
    found += [f"must not contain '{part}'" for part in IN_PATH if part in path]
    return found + [f"cannot end with '{part}'" for part in AT_END if path.endswith(part)]


def _backend(path: str, backend: Tree) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference(f"{path}.resource", resource)
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    return _service(path, service)


def _reference(path: str, reference: Tree) -> list[FieldError]:
    found = [required(f"{path}.{field}") for field in ("kind", "name") if not reference.get(field)]
    if reference.get("apiGroup"):
        found += reasons(f"{path}.apiGroup", reference["apiGroup"], names.subdomain)
    return found


def _service(path: str, service: Tree) -> list[FieldError]:
    name, port = service.get("name") or "", service.get("port") or {}
    found = reasons(f"{path}.service.name", name, names.label) if name else [required(f"{path}.service.name")]
    if port.get("name") and port.get("number"):
        found.append(invalid(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        found += reasons(f"{path}.service.port.name", port["name"], names.port_name)
    elif port.get("number"):
        found += reasons(f"{path}.service.port.number", port["number"], names.port_number)
    else:
        found.append(required(path, "port name or number is required"))
    return found


def _tls(path: str, tls: Tree) -> list[FieldError]:
    found = []
    for where, host in each(f"{path}.hosts", tls.get("hosts")):
        found += _host(where, host)
    if tls.get("secretName"):
        found += reasons(f"{path}.secretName", tls["secretName"], names.subdomain)
    return found


def _hosts(tree: Tree) -> str:
    rules = at(tree, "spec", "rules") or []
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    if not hosts:
        return "*"
    shown = ",".join(hosts[:SHOWN])
    return shown if len(hosts) <= SHOWN else f"{shown} + {len(rules) - SHOWN} more..."


def _addresses(tree: Tree) -> str:
    points = at(tree, "status", "loadBalancer", "ingress") or []
    return ",".join(sorted({point.get("ip") or point.get("hostname") or "" for point in points} - {""}))


def _column(name: str, read: Callable[[Tree], str], says: str) -> Column:
    return Column(name, fixed(read), says=says)


INGRESS = Resource(
    group="networking.k8s.io",
    version="v1",
    kind="Ingress",
    plural="ingresses",
    singular="ingress",
    short_names=("ing",),
    schema="io.k8s.api.networking.v1.Ingress",
    columns=(
        NAME,
        _column(
            "Class",
            lambda tree: at(tree, "spec", "ingressClassName") or annotations_of(tree).get(CLASS_ANNOTATION) or NONE,
            "The name of the IngressClass resource that should be used for additional configuration",
        ),
        _column("Hosts", _hosts, "Hosts that incoming requests are matched against before the ingress rule"),
        _column("Address", _addresses, "Address is a list containing ingress points for the load-balancer"),
        _column(
            "Ports",
            lambda tree: "80, 443" if at(tree, "spec", "tls") else "80",
            "Ports of TLS configurations that open",
        ),
        AGE,
    ),
    subresources={"status": Subresource(kind="Ingress")},
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    prepare_status=only_status(),
    validate=_validate_create,
    validate_update=_validate_update,
    status_warnings=address_warnings.of_load_balancer,
    name_rule=name_is_subdomain,
)


# --- IngressClass ----------------------------------------------------------------------------------------------------


def _default_class(tree: Tree) -> None:
    parameters = at(tree, "spec", "parameters")
    if parameters is not None:
        parameters["scope"] = parameters.get("scope") or "Cluster"


def _validate_class(tree: Tree) -> list[FieldError]:
    controller = at(tree, "spec", "controller") or ""
    found: list[FieldError] = []
    if len(controller) > LONGEST_CONTROLLER:
        found.append(too_long("spec.controller", LONGEST_CONTROLLER))
    found += (
        reasons("spec.controller", controller, names.prefixed_path) if controller else [required("spec.controller")]
    )
    parameters = at(tree, "spec", "parameters")
    return found if parameters is None else found + _parameters("spec.parameters", parameters)


def _parameters(path: str, parameters: Tree) -> list[FieldError]:
    found = _reference(path, parameters)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    found += supported(f"{path}.scope", scope, SCOPES)
    if scope == "Namespace":
        found += (
            reasons(f"{path}.namespace", namespace, names.label)
            if namespace
            else [required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")]
        )
    elif namespace is not None:
        found.append(forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return found


def _validate_class_update(new: Tree, old: Tree) -> list[FieldError]:
    fixed_field = immutable("spec.controller", at(new, "spec", "controller"), at(old, "spec", "controller"))
    return fixed_field + _validate_class(new)


def _parameters_text(tree: Tree) -> str:
    found = at(tree, "spec", "parameters")
    if found is None:
        return NONE
    kind = ".".join(filter(None, (found.get("kind"), found.get("apiGroup"))))
    return f"{kind}/{found.get('name', '')}"


INGRESS_CLASS = Resource(
    group="networking.k8s.io",
    version="v1",
    kind="IngressClass",
    plural="ingressclasses",
    singular="ingressclass",
    namespaced=False,
    schema="io.k8s.api.networking.v1.IngressClass",
    columns=(
        NAME,
        _column(
            "Controller",
            lambda tree: at(tree, "spec", "controller") or "",
            "Controller that is responsible for handling this class",
        ),
        _column("Parameters", _parameters_text, "A reference to a resource with additional parameters"),
        AGE,
    ),
    default=_default_class,
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    validate=_validate_class,
    validate_update=_validate_class_update,
    name_rule=name_is_subdomain,
)
