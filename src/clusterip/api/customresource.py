"""From a CustomResourceDefinition to the same record that built-in kinds have.

Stage: none; pure but for making the structures known to api.schema.  In: a definition's tree.  Out: a Resource for
each version that is served, the storage's first among equals; the definition's names and conditions.
Rules: a version without a schema keeps everything.  All versions are kept in one form (conversion None).
Truth: apiextensions-apiserver, registry/customresource and pkg/controller/status; KEP-95.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import orjson

from clusterip.api import cel_rules, crd_conversion, crd_names, scales, structural, structural_validation
from clusterip.api import schema as schemas
from clusterip.api.crd_validation import is_established
from clusterip.api.crd_versions import schema_of
from clusterip.api.decoding import Decoded
from clusterip.api.errors import FieldError, quoted
from clusterip.api.jsonpath import Path, parse, shown
from clusterip.api.meta import Tree, copied, metadata_of, name_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Cell, Column, Resource, ScalePaths, Subresource
from clusterip.api.strategy import drop_status, keep_metadata, keep_status, set_generation
from clusterip.api.tables import AGE, NAME, age, since

VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
KEEPS_ALL: Final[Tree] = {"type": "object", structural.PRESERVE: True}
OWN_FINALIZERS: Final = ("orphan", "foregroundDeletion")
SHORT_FINALIZER: Final = (
    "metadata.finalizers: {}: prefer a domain-qualified finalizer name to avoid accidental conflicts with other "
    "finalizer writers"
)
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def resources_of(crd: Tree) -> list[Resource]:
    """The records of every version that is served, the most stable first."""
    versions = sorted(crd["spec"]["versions"], key=lambda version: version_rank(version["name"]))
    stored: Tree = next((version for version in versions if version.get("storage")), {})
    return [_resource(crd, version, stored) for version in versions if version.get("served")]


def version_rank(name: str) -> tuple[Any, ...]:
    """Sorts versions as Kubernetes prefers them: v2, v1, v1beta2, v1beta1, v1alpha1, then others by name."""
    found = _VERSION.fullmatch(name)
    if not found:
        return (1, name)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (0, stage, -int(found[1]), -int(found[3] or 0))


def _resource(crd: Tree, version: Tree, kept: Tree) -> Resource:
    """One version; `kept` is the one that is kept."""
    spec, names = crd["spec"], crd["status"].get("acceptedNames") or crd["spec"]["names"]
    schema, stored = schema_of(version) or KEEPS_ALL, schema_of(kept) or KEEPS_ALL
    metadata = metadata_of(crd)
    structure = f"custom/{metadata.get('uid')}/{metadata.get('generation')}/{version['name']}"
    schemas.define(structural.definitions(schema, structure))
    subresources = version.get("subresources") or {}
    has_status, scale = subresources.get("status") is not None, _scale(subresources.get("scale"))
    return Resource(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        list_kind=names.get("listKind") or "",
        plural=names["plural"],
        singular=names.get("singular") or "",
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        schema=structure,
        custom_schema=schema,
        verbs=VERBS,
        columns=(NAME, *_columns(version.get("additionalPrinterColumns"))),
        subresources=_subresources(names["kind"], subresources),
        scale=scale,
        default=_defaulting(schema),
        prepare_create=_create_strategy(has_status),
        prepare_update=_update_strategy(has_status),
        prepare_status=_prepare_status,
        warnings=short_finalizers,
        validate=_creation_check(schema, scale),
        validate_update=_update_check(schema, scale),
        validate_status=_status_check(schema, scale),
        decode=lambda tree: decoded(tree, schema),
        stored_version=f"{spec['group']}/{kept.get('name', '')}",
        from_storage=_read_with(stored, schema),
        to_storage=None if stored == schema else _without_unknown(stored),
        fields=_fields(version.get("selectableFields") or ()),
        name_rule=name_is_subdomain,
        deprecation=_deprecation(spec["group"], names["kind"], version),
        unconditional_update=False,
    )


def short_finalizers(tree: Tree, old: Tree | None) -> list[str]:
    """Finalizers whose names may be another's too."""
    before = metadata_of(old).get("finalizers") or () if old else ()
    fresh = [name for name in metadata_of(tree).get("finalizers") or () if name not in before]
    return [SHORT_FINALIZER.format(quoted(name)) for name in fresh if "/" not in name and name not in OWN_FINALIZERS]


def decoded(tree: Tree, schema: Tree) -> Decoded:
    return structural.decoded(tree, {**schema, structural.EMBEDDED: True})


def _defaulting(schema: Tree) -> Callable[[Tree], None]:
    below = {
        **schema,
        "properties": {k: v for k, v in (schema.get("properties") or {}).items() if k not in structural.EVERY_OBJECT},
    }
    return lambda tree: structural.fill(tree, below)


def _read_with(stored: Tree, schema: Tree) -> Callable[[Tree], Tree] | None:
    """What is kept has the defaults of the kept version, of today, and nothing that the version shown does not know."""
    if stored == schema and b'"default"' not in orjson.dumps(schema):
        return None
    default = _defaulting(stored)
    prune = _without_unknown(schema) if stored != schema else None

    def shown(tree: Tree) -> Tree:
        found: Tree = copied(tree)
        default(found)
        return prune(found) if prune else found

    return shown


def _without_unknown(schema: Tree) -> Callable[[Tree], Tree]:
    whole = {**schema, structural.EMBEDDED: True}

    def prune(tree: Tree) -> Tree:
        for _ in structural.pruned(tree, whole):
            pass
        return tree

    return prune


def _creation_check(schema: Tree, scale: ScalePaths | None) -> Callable[[Tree], list[FieldError]]:
    def check(tree: Tree) -> list[FieldError]:
        found = structural_validation.errors(tree, schema) + scales.errors(tree, scale, ("spec", "status"))
        return found + cel_rules.errors(tree, None, schema, found)

    return check


def _update_check(schema: Tree, scale: ScalePaths | None) -> Callable[[Tree, Tree], list[FieldError]]:
    def check(new: Tree, old: Tree) -> list[FieldError]:
        found = structural_validation.update_errors(new, old, schema) + scales.errors(new, scale, ("spec", "status"))
        return found + cel_rules.errors(new, old, schema, found)

    return check


def _status_check(schema: Tree, scale: ScalePaths | None) -> Callable[[Tree, Tree], list[FieldError]]:
    """Of the rest nothing changes; upstream names the fields of a status from the status on."""
    of_status = (schema.get("properties") or {}).get("status") or {}

    def check(new: Tree, old: Tree) -> list[FieldError]:
        before = old.get("status")
        found = structural_validation.part_errors(new.get("status"), before, of_status, "status")
        found += scales.errors(new, scale, ("status",))
        return found + cel_rules.errors(new, old, schema, found)

    return check


def _deprecation(group: str, kind: str, version: Tree) -> str:
    if not version.get("deprecated"):
        return ""
    text: str = version.get("deprecationWarning") or f"{group}/{version['name']} {kind} is deprecated"
    return text


# --- who writes what -------------------------------------------------------------------------------------------------


def _create_strategy(has_status: bool) -> Callable[[Tree], None]:
    def prepare(tree: Tree) -> None:
        if has_status:
            drop_status(tree)
        tree["metadata"]["generation"] = 1

    return prepare


def _update_strategy(has_status: bool) -> Callable[[Tree, Tree], None]:
    """Whatever is not metadata (or status, when that is a subresource) makes a new generation."""
    apart = ("metadata", "status") if has_status else ("metadata",)

    def prepare(new: Tree, old: Tree) -> None:
        if has_status:
            keep_status(new, old)
        changed = _without(new, apart) != _without(old, apart)
        set_generation(new, (metadata_of(old).get("generation") or 0) + changed)

    return prepare


def _without(tree: Tree, apart: Iterable[str]) -> Tree:
    return {key: value for key, value in tree.items() if key not in apart}


def _prepare_status(new: Tree, old: Tree) -> None:
    written: Tree = {key: new[key] for key in ("apiVersion", "kind", "metadata", "status") if key in new}
    managed = metadata_of(new).get("managedFields")
    new.clear()
    new.update({key: copied(value) for key, value in old.items() if key != "status"})
    new.update({key: value for key, value in written.items() if key != "metadata"})
    new["metadata"] = {**copied(metadata_of(old)), "resourceVersion": written["metadata"].get("resourceVersion", "")}
    if managed is not None:
        new["metadata"]["managedFields"] = managed
    keep_metadata(new, old, "generation")


# --- what is shown, scaled, selected ---------------------------------------------------------------------------------


def _columns(columns: list[Tree] | None) -> tuple[Column, ...]:
    if not columns:
        return (Column("Age", age, type="date", says=AGE.says),)
    return tuple(_column(column) for column in columns)


def _column(column: Tree) -> Column:
    path = parse(column["jsonPath"])
    says = column.get("description") or f"Custom resource definition column (in JSONPath format): {path.text}"
    return Column(
        column["name"],
        _cell(path, column["type"]),
        type=column["type"],
        format=column.get("format") or "",
        says=says,
        priority=column.get("priority") or 0,
    )


def _cell(path: Path, kind: str) -> Cell:
    def cell(tree: Tree, now: datetime) -> Any:
        value = path.first(tree)
        if value is None:
            return None
        return CELLS[kind](value, now)

    return cell


def _date(value: Any, now: datetime) -> Any:
    try:
        return since(value, now)
    except (TypeError, ValueError):
        return "<invalid>" if isinstance(value, str) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


CELLS: Final[dict[str, Callable[[Any, datetime], Any]]] = {
    "string": lambda value, now: shown(value),
    "integer": lambda value, now: int(value) if _is_number(value) else None,
    "number": lambda value, now: value if _is_number(value) else None,
    "boolean": lambda value, now: value if isinstance(value, bool) else None,
    "date": _date,
}


def _subresources(kind: str, asked: Tree) -> dict[str, Subresource]:
    found: dict[str, Subresource] = {}
    if asked.get("scale") is not None:
        found["scale"] = Subresource(kind="Scale", group="autoscaling", version="v1")
    if asked.get("status") is not None:
        found["status"] = Subresource(kind=kind)
    return found


def _scale(scale: Tree | None) -> ScalePaths | None:
    if scale is None:
        return None
    spec, status, selector = (
        tuple((scale.get(field) or "").strip(".").split("."))
        for field in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
    )
    return ScalePaths(spec, status, selector if selector != ("",) else ())


def _fields(selectable: Iterable[Tree]) -> dict[str, Callable[[Tree], str]]:
    return {field["jsonPath"].removeprefix("."): _field(parse(field["jsonPath"])) for field in selectable}


def _field(path: Path) -> Callable[[Tree], str]:
    def read(tree: Tree) -> str:
        value = path.first(tree)
        return "" if value is None else shown(value)

    return read


# --- the definition's status -----------------------------------------------------------------------------------------

ESTABLISHED: Final = ("True", "InitialNamesAccepted", "the initial names have been accepted")
NO_BUNDLE: Final = ("False", "InvalidCABundle", "The conversion webhook CABundle is invalid")


def settled(crd: Tree, others: Iterable[Tree], now: str) -> Tree:
    """The status that a definition shall have, given the other definitions of its group."""
    status = copied(crd.get("status") or {})
    problem, names = accepted(crd, others)
    reason, _, message = problem.partition(": ")
    conditions = list(status.get("conditions") or ())
    was = is_established(crd)
    agreed, why, words = crd_names.approval(crd)
    if agreed:
        _set(conditions, "KubernetesAPIApprovalPolicyConformant", agreed, why, words, now)
    if problem:
        _set(conditions, "NamesAccepted", "False", reason, message, now)
        if not was:
            _set(conditions, "Established", "False", "NotAccepted", "not all names are accepted", now)
    else:
        _set(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        good = was or crd_conversion.has_bundle(crd)
        _set(conditions, "Established", *(ESTABLISHED if good else NO_BUNDLE), now)
    return {**status, "conditions": conditions, "acceptedNames": names}


def accepted(crd: Tree, others: Iterable[Tree]) -> tuple[str, Tree]:
    """What is wrong with the names (`PluralConflict: "pools" is already in use`), and those that it may have."""
    wanted, has = crd["spec"]["names"], copied((crd.get("status") or {}).get("acceptedNames") or {})
    resources, kinds = _taken(crd, others)
    problem = ""
    for field, reason, used in (
        ("plural", "PluralConflict", resources),
        ("singular", "SingularConflict", resources),
        ("kind", "KindConflict", kinds),
        ("listKind", "ListKindConflict", kinds),
    ):
        name = wanted.get(field) or ""
        if name != (has.get(field) or "") and name in used:
            problem = f"{reason}: {quoted(name)} is already in use"
        else:
            has[field] = name
    short = [name for name in wanted.get("shortNames") or () if name in resources]
    if short:
        problem = "ShortNamesConflict: " + ", ".join(f"{quoted(name)} is already in use" for name in short)
    for field, blocked in (("shortNames", bool(short)), ("categories", False)):
        if not blocked and wanted.get(field):
            has[field] = wanted[field]
        elif not blocked:
            has.pop(field, None)
    return problem, {key: value for key, value in has.items() if value or key in ("plural", "kind")}


def _taken(crd: Tree, others: Iterable[Tree]) -> tuple[set[str], set[str]]:
    """The resources and kinds that other definitions of the group have."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other["spec"]["group"] != crd["spec"]["group"] or name_of(other) == name_of(crd):
            continue
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {names.get("plural") or "", names.get("singular") or "", *(names.get("shortNames") or ())}
        kinds |= {names.get("kind") or "", names.get("listKind") or ""}
    return resources - {""}, kinds - {""}


def _set(conditions: list[Tree], kind: str, status: str, reason: str, message: str, now: str) -> None:
    """A condition; its time moves with its status only."""
    made = {"type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message}
    for index, condition in enumerate(conditions):
        if condition.get("type") == kind:
            if condition.get("status") == status:
                made["lastTransitionTime"] = condition.get("lastTransitionTime") or now
            conditions[index] = made
            return
    conditions.append(made)
