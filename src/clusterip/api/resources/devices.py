"""resource.k8s.io: devices that drivers offer and pods claim. Stored, served, judged; nothing here allocates them.

Stage: none; records and their pure functions.
Limits: selectors in CEL have a text, which is not compiled; what an allocation, a slice's devices, counters and
        capacities say of each other is not compared.
Truth: kube-apiserver's apis/resource defaults, strategies, validation and printers of 1.36; KEP-4381.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clusterip.api import names
from clusterip.api.checks import each, immutable, reasons, supported
from clusterip.api.errors import FieldError, duplicate, invalid, required, too_long, too_many
from clusterip.api.meta import Tree, metadata_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import drop_status, first_generation, keep_status, next_generation, only_status
from clusterip.api.tables import AGE, NAME, at, fixed

GROUP = "resource.k8s.io"
EXACT, ALL = "ExactCount", "All"
MODES = (ALL, EXACT)
MOST_REQUESTS, MOST_SELECTORS, MOST_CHOICES, MOST_USERS = 32, 32, 8, 256
MOST_DEVICES = 128
LONGEST_DRIVER, LONGEST_POOL, LONGEST_SELECTOR = 63, 253, 10 * 1024
NODE_CHOICE = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
ONE_NODE_CHOICE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
ONE_REQUEST = "exactly one of `exactly` or `firstAvailable` is required"
MANY_SET = ", but multiple fields are set"
NO_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"


def _record(kind: str, plural: str, **more: Any) -> Resource:
    return Resource(
        group=GROUP,
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        schema=f"io.k8s.api.resource.v1.{kind}",
        name_rule=name_is_subdomain,
        **more,
    )


# --- what a claim asks for -------------------------------------------------------------------------------------------


def _asked(devices: Tree) -> Iterator[Tree]:
    """The requests, and the choices of requests, that a class answers."""
    for request in devices.get("requests") or ():
        exactly = request.get("exactly")
        yield from request.get("firstAvailable") or () if exactly is None else [exactly]


def _default_devices(devices: Tree) -> None:
    for request in _asked(devices):
        request["allocationMode"] = request.get("allocationMode") or EXACT
        if request["allocationMode"] == EXACT and not request.get("count"):
            request["count"] = 1


def _devices(path: str, devices: Tree) -> list[FieldError]:
    requests = devices.get("requests") or []
    found = _few(f"{path}.requests", requests, MOST_REQUESTS) + _unique(f"{path}.requests", requests)
    for where, request in each(f"{path}.requests", requests):
        found += _request(where, request)
    known = set(_request_names(requests))
    for field in ("constraints", "config"):
        found += _few(f"{path}.{field}", devices.get(field) or [], MOST_REQUESTS)
        for where, holder in each(f"{path}.{field}", devices.get(field)):
            found += _named_requests(f"{where}.requests", holder.get("requests") or [], known)
            found += _constraint(where, holder) if field == "constraints" else _opaque(where, holder)
    return found


def _few(path: str, values: list[Any], most: int) -> list[FieldError]:
    return [too_many(path, len(values), most)] if len(values) > most else []


def _unique(path: str, values: list[Tree]) -> list[FieldError]:
    given = [value.get("name") or "" for value in values]
    return [duplicate(f"{path}[{n}].name", name) for n, name in enumerate(given) if name in given[:n]]


def _label(path: str, name: str) -> list[FieldError]:
    return reasons(path, name, names.label) if name else [required(path)]


def _request(path: str, request: Tree) -> list[FieldError]:
    exactly, choices = request.get("exactly"), request.get("firstAvailable") or []
    found = _label(f"{path}.name", request.get("name") or "")
    if exactly is None and not choices:
        return [*found, required(path, ONE_REQUEST)]
    if exactly is not None and choices:
        return [*found, invalid(path, None, ONE_REQUEST + MANY_SET)]
    if exactly is not None:
        return found + _wanted(f"{path}.exactly", exactly)
    found += _few(f"{path}.firstAvailable", choices, MOST_CHOICES) + _unique(f"{path}.firstAvailable", choices)
    for where, choice in each(f"{path}.firstAvailable", choices):
        found += _label(f"{where}.name", choice.get("name") or "") + _wanted(where, choice)
    return found


def _wanted(path: str, request: Tree) -> list[FieldError]:
    """A class, selectors, a number."""
    device_class, mode, count = request.get("deviceClassName"), request.get("allocationMode"), request.get("count")
    found = reasons(f"{path}.deviceClassName", device_class, names.subdomain) if device_class else []
    found += [] if device_class else [required(f"{path}.deviceClassName")]
    found += _selectors(f"{path}.selectors", request.get("selectors") or [])
    if mode == ALL and count:
        found.append(invalid(f"{path}.count", count, f"must not be specified when allocationMode is '{ALL}'"))
    elif mode == EXACT and (count or 0) <= 0:
        found.append(invalid(f"{path}.count", count or 0, "must be greater than zero"))
    return found + supported(f"{path}.allocationMode", mode, MODES)


def _selectors(path: str, selectors: list[Tree]) -> list[FieldError]:
    found = _few(path, selectors, MOST_SELECTORS)
    for where, selector in each(path, selectors):
        rule = selector.get("cel")
        if rule is None:
            found.append(required(f"{where}.cel"))
        elif not rule.get("expression"):
            found.append(required(f"{where}.cel.expression"))
        elif len(rule["expression"]) > LONGEST_SELECTOR:
            found.append(too_long(f"{where}.cel.expression", LONGEST_SELECTOR))
    return found


def _request_names(requests: list[Tree]) -> Iterator[str]:
    for request in requests:
        name = request.get("name") or ""
        yield name
        yield from (f"{name}/{choice.get('name') or ''}" for choice in request.get("firstAvailable") or ())


def _named_requests(path: str, given: list[str], known: set[str]) -> list[FieldError]:
    found = [duplicate(f"{path}[{n}]", name) for n, name in enumerate(given) if name in given[:n]]
    return found + [invalid(where, name, NO_REQUEST) for where, name in each(path, given) if name not in known]


def _constraint(path: str, constraint: Tree) -> list[FieldError]:
    if constraint.get("matchAttribute") or constraint.get("distinctAttribute"):
        return []
    return [required(path, 'exactly one of "matchAttribute" or "distinctAttribute" is required')]


def _opaque(path: str, holder: Tree) -> list[FieldError]:
    opaque = holder.get("opaque")
    if opaque is None:
        return [required(f"{path}.opaque")]
    found = _driver(f"{path}.opaque.driver", opaque.get("driver") or "")
    return found + ([] if opaque.get("parameters") is not None else [required(f"{path}.opaque.parameters")])


def _driver(path: str, name: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    found = [too_long(path, LONGEST_DRIVER)] if len(name) > LONGEST_DRIVER else []
    return found + reasons(path, name.lower(), names.subdomain)


# --- DeviceClass -----------------------------------------------------------------------------------------------------


def _validate_class(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    found = _selectors("spec.selectors", spec.get("selectors") or [])
    for where, config in each("spec.config", spec.get("config")):
        found += _opaque(where, config)
    return found + _few("spec.config", spec.get("config") or [], MOST_REQUESTS)


DEVICE_CLASS = _record(
    "DeviceClass",
    "deviceclasses",
    namespaced=False,
    columns=(NAME, AGE),
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    validate=_validate_class,
    validate_update=lambda new, old: _validate_class(new),
)


# --- ResourceClaim, ResourceClaimTemplate ----------------------------------------------------------------------------


def _claim_devices(tree: Tree, *path: str) -> Tree:
    found = at(tree, *path, "devices")
    return found if isinstance(found, dict) else {}


def _fixed_spec(new: Tree, old: Tree) -> list[FieldError]:
    return immutable("spec", new.get("spec"), old.get("spec"))


def _keep_spec(new: Tree, old: Tree) -> None:
    """A claim that is given back keeps no words of drivers about its devices."""
    only_status()(new, old)
    status = new.get("status") or {}
    if status.get("allocation") is None:
        status.pop("devices", None)


def _validate_claim_status(new: Tree, old: Tree) -> list[FieldError]:
    status, before = new.get("status") or {}, old.get("status") or {}
    users, allocation = status.get("reservedFor") or [], status.get("allocation")
    found = _few("status.reservedFor", users, MOST_USERS)
    seen: set[str] = set()
    for where, user in each("status.reservedFor", users):
        for field in ("resource", "name", "uid"):
            found += [] if user.get(field) else [required(f"{where}.{field}")]
        found += [duplicate(f"{where}.uid", user.get("uid"))] if user.get("uid") in seen else []
        seen.add(user.get("uid") or "")
    if users and allocation is None:
        found.append(required("status.allocation", "may not be unset while in use"))
    if before.get("allocation") is not None and allocation is not None:
        found += immutable("status.allocation", allocation, before["allocation"])
    if metadata_of(new).get("deletionTimestamp") and len(users) > len(before.get("reservedFor") or ()):
        found.append(invalid("status.reservedFor", users, "new consumers may not be added while the claim is deleted"))
    return found


def _state(tree: Tree) -> str:
    deleted = "deletionTimestamp" in metadata_of(tree)
    words = ["deleted"] if deleted else []
    if at(tree, "status", "allocation") is None:
        words += [] if deleted else ["pending"]
    else:
        words += ["allocated"] + (["reserved"] if at(tree, "status", "reservedFor") else [])
    return ",".join(words)


RESOURCE_CLAIM = _record(
    "ResourceClaim",
    "resourceclaims",
    columns=(
        NAME,
        Column("State", fixed(_state), says="A summary of the current state (allocated, pending, reserved, etc.)."),
        AGE,
    ),
    subresources={"status": Subresource(kind="ResourceClaim")},
    default=lambda tree: _default_devices(_claim_devices(tree, "spec")),
    prepare_create=drop_status,
    prepare_update=keep_status,
    prepare_status=_keep_spec,
    validate=lambda tree: _devices("spec.devices", _claim_devices(tree, "spec")),
    validate_update=_fixed_spec,
    validate_status=_validate_claim_status,
)
RESOURCE_CLAIM_TEMPLATE = _record(
    "ResourceClaimTemplate",
    "resourceclaimtemplates",
    columns=(NAME, AGE),
    default=lambda tree: _default_devices(_claim_devices(tree, "spec", "spec")),
    validate=lambda tree: _devices("spec.spec.devices", _claim_devices(tree, "spec", "spec")),
    validate_update=_fixed_spec,
)


# --- ResourceSlice ---------------------------------------------------------------------------------------------------


def _validate_slice(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    devices = spec.get("devices") or []
    found = _driver("spec.driver", spec.get("driver") or "") + _pool(spec.get("pool") or {})
    chosen = [field for field in NODE_CHOICE if spec.get(field)]
    if not chosen:
        found.append(required("spec", ONE_NODE_CHOICE))
    elif len(chosen) > 1:
        found.append(invalid("spec", "{" + ", ".join(chosen) + "}", ONE_NODE_CHOICE + MANY_SET))
    if "nodeName" in chosen:
        found += reasons("spec.nodeName", spec["nodeName"], names.subdomain)
    found += _few("spec.devices", devices, MOST_DEVICES) + _unique("spec.devices", devices)
    for where, device in each("spec.devices", devices):
        found += _label(f"{where}.name", device.get("name") or "")
    return found


def _pool(pool: Tree) -> list[FieldError]:
    name, slices = pool.get("name") or "", pool.get("resourceSliceCount") or 0
    found = [] if name else [required("spec.pool.name")]
    found += [too_long("spec.pool.name", LONGEST_POOL)] if len(name) > LONGEST_POOL else []
    for part in name.split("/") if name else ():
        found += reasons("spec.pool.name", part, names.subdomain)
    if slices <= 0:
        found.append(invalid("spec.pool.resourceSliceCount", slices, "must be greater than zero"))
    if (pool.get("generation") or 0) < 0:
        found.append(invalid("spec.pool.generation", pool["generation"], names.NOT_NEGATIVE))
    return found


def _validate_slice_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _validate_slice(new)
    for path in (("driver",), ("pool", "name"), ("nodeName",), ("allNodes",)):
        found += immutable(".".join(("spec", *path)), at(new, "spec", *path), at(old, "spec", *path))
    return found


def _slice_column(name: str, *path: str, says: str) -> Column:
    return Column(name, fixed(lambda tree: str(at(tree, "spec", *path) or "")), says=f"@resource.v1.{says}")


RESOURCE_SLICE = _record(
    "ResourceSlice",
    "resourceslices",
    namespaced=False,
    columns=(
        NAME,
        _slice_column("Node", "nodeName", says="ResourceSliceSpec.nodeName"),
        _slice_column("Driver", "driver", says="ResourceSliceSpec.driver"),
        _slice_column("Pool", "pool", "name", says="ResourcePool.name"),
        AGE,
    ),
    fields={
        "spec.nodeName": lambda tree: str(at(tree, "spec", "nodeName") or ""),
        "spec.driver": lambda tree: str(at(tree, "spec", "driver") or ""),
    },
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    validate=_validate_slice,
    validate_update=_validate_slice_update,
)
