"""Versions of CustomResourceDefinitions, judged: names, columns, subresources, selectable fields.

Stage: none; pure.  In: the versions of a definition.  Out: field errors in upstream's words.
Truth: apiextensions-apiserver, pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from typing import Final

from clusterip.api import names
from clusterip.api.checks import each
from clusterip.api.errors import FieldError, duplicate, invalid, required
from clusterip.api.jsonpath import PathError
from clusterip.api.jsonpath import parse as parse_path
from clusterip.api.meta import Tree

COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
MAX_SELECTABLE: Final = 8
NO_DOT: Final = "must be a simple json path starting with ."
SELECTABLE: Final = ("string", "boolean", "integer")
UNSELECTABLE: Final = (
    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
)
HEAD: Final[Tree] = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}


def schema_of(version: Tree) -> Tree | None:
    found: Tree | None = (version.get("schema") or {}).get("openAPIV3Schema")
    return found


def missing_schemas(versions: list[Tree]) -> list[FieldError]:
    return [
        required(f"{path}.schema.openAPIV3Schema")
        for path, version in each("spec.versions", versions)
        if schema_of(version) is None
    ]


def errors(versions: list[Tree]) -> list[FieldError]:
    found: list[FieldError] = []
    for path, version in each("spec.versions", versions):
        name = version.get("name") or ""
        if wrong := names.label_1035(name):
            found.append(invalid(f"{path}.name", name, ",".join(wrong)))
        found += _deprecation(path, version)
    for path, version in _places("subresources", versions):
        found += _subresources(path, version["subresources"])
    for path, version in _places("additionalPrinterColumns", versions):
        found += [
            error
            for where, column in each(path, version["additionalPrinterColumns"])
            for error in _column(where, column)
        ]
    for path, version in _places("selectableFields", versions):
        found += _selectable(path, version["selectableFields"], schema_of(version) or {})
    listed = [version.get("name") for version in versions]
    if len(set(listed)) != len(listed):
        found.append(invalid("spec.versions", versions, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        found.append(invalid("spec.versions", versions, text))
    return found


def _places(field: str, versions: list[Tree]) -> list[tuple[str, Tree]]:
    """Where a field of the versions stands; what all of them share stands at the top."""
    found = [(f"{path}.{field}", version) for path, version in each("spec.versions", versions) if version.get(field)]
    is_shared = bool(found) and all(version.get(field) == versions[0].get(field) for version in versions)
    return [(f"spec.{field}", versions[0])] if is_shared else found


def _deprecation(path: str, version: Tree) -> list[FieldError]:
    text = version.get("deprecationWarning")
    if text is None:
        return []
    if not version.get("deprecated"):
        return [invalid(f"{path}.deprecationWarning", text, "can only be set for deprecated versions")]
    checks = ((len(text) > 256, "must be <= 256 characters long"), (not text, "must not be an empty string"))
    return [invalid(f"{path}.deprecationWarning", text, reason) for failed, reason in checks if failed]


def _subresources(path: str, subresources: Tree) -> list[FieldError]:
    scale = subresources.get("scale")
    if scale is None:
        return []
    found = []
    for field, root in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        text = scale.get(field) or ""
        if not text:
            found.append(required(f"{path}.scale.{field}"))
        elif not text.startswith("."):
            found.append(invalid(f"{path}.scale.{field}", text, NO_DOT))
        elif not text.startswith(f"{root}."):
            found.append(invalid(f"{path}.scale.{field}", text, f"should be a json path under {root}"))
    selector = scale.get("labelSelectorPath") or ""
    if selector and not selector.startswith("."):
        found.append(invalid(f"{path}.scale.labelSelectorPath", selector, NO_DOT))
    elif selector and not selector.startswith((".spec.", ".status.")):
        text = "should be a json path under either .spec or .status"
        found.append(invalid(f"{path}.scale.labelSelectorPath", selector, text))
    return found


def _column(path: str, column: Tree) -> list[FieldError]:
    found = [] if column.get("name") else [required(f"{path}.name")]
    kind, format_ = column.get("type") or "", column.get("format") or ""
    if not kind:
        found.append(required(f"{path}.type", f"must be one of {','.join(COLUMN_TYPES)}"))
    elif kind not in COLUMN_TYPES:
        found.append(invalid(f"{path}.type", kind, f"must be one of {','.join(COLUMN_TYPES)}"))
    if format_ and format_ not in COLUMN_FORMATS:
        found.append(invalid(f"{path}.format", format_, f"must be one of {','.join(COLUMN_FORMATS)}"))
    return found + _path(f"{path}.JSONPath", column.get("jsonPath") or "")


def _path(path: str, text: str) -> list[FieldError]:
    if not text:
        return [required(path)]
    if not text.startswith("."):
        return [invalid(path, text, NO_DOT)]
    try:
        parse_path(text)
    except PathError as error:
        return [invalid(path, text, f"is an invalid path: {error}")]
    return []


def _selectable(path: str, fields: list[Tree], schema: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    known: list[str] = []
    for where, field in each(path, fields):
        text, where = field.get("jsonPath") or "", f"{where}.jsonPath"
        if not text:
            found.append(required(where))
        elif wrong := _unselectable(text, schema):
            found.append(invalid(where, text, wrong))
        if (text and not text.startswith(".")) or not text:
            continue
        if text in known:
            found.append(duplicate(where, text))
        known.append(text)
    if len(set(known)) > MAX_SELECTABLE:
        text = f"must have at most {MAX_SELECTABLE} items"
        found.append(FieldError("FieldValueTooMany", path, text, len(set(known))))
    return found


def _unselectable(path: str, schema: Tree) -> str:
    """Why a path leads to nothing that can be selected by; "" where it does."""
    if not path.startswith("."):
        return f"is an invalid path: expected [ or . but got: {path.partition('.')[0]}"
    if "[" in path:
        return "is an invalid path: array notation is not allowed"
    at: Tree = {**schema, "properties": {**HEAD, **(schema.get("properties") or {})}}
    for name in path[1:].split("."):
        below = (at.get("properties") or {}).get(name, at.get("additionalProperties"))
        if not isinstance(below, dict):
            return "is an invalid path: does not refer to a valid field"
        at = below
    if path.startswith(".metadata."):
        return "must not point to fields in metadata"
    return "" if at.get("type") in SELECTABLE else UNSELECTABLE
