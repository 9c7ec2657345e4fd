"""Versions of CustomResourceDefinitions, judged: names, columns, subresources, selectable fields.

Stage: none; pure.  In: the versions of a definition.  Out: field errors in upstream's words.
Truth: apiextensions-apiserver, pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from typing import Final

from clusterip.api import names
from clusterip.api.checks import each
from clusterip.api.errors import FieldError, invalid, required
from clusterip.api.jsonpath import PathError
from clusterip.api.jsonpath import parse as parse_path
from clusterip.api.meta import Tree

COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
MAX_SELECTABLE: Final = 8


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
        found += _subresources(f"{path}.subresources", version.get("subresources") or {})
        for where, column in each(f"{path}.additionalPrinterColumns", version.get("additionalPrinterColumns")):
            found += _column(where, column)
        found += _selectable(f"{path}.selectableFields", version.get("selectableFields") or [])
    listed = [version.get("name") for version in versions]
    if len(set(listed)) != len(listed):
        found.append(invalid("spec.versions", versions, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        found.append(invalid("spec.versions", versions, text))
    return found


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
        elif not text.startswith(f"{root}."):
            found.append(invalid(f"{path}.scale.{field}", text, f"should be a json path under {root}"))
    selector = scale.get("labelSelectorPath") or ""
    if selector and not selector.startswith((".spec.", ".status.")):
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
    try:
        parse_path(text)
    except PathError as error:
        return [invalid(path, text, f"is an invalid path: {error}")]
    return []


def _selectable(path: str, fields: list[Tree]) -> list[FieldError]:
    found: list[FieldError] = []
    for where, field in each(path, fields):
        found += _path(f"{where}.jsonPath", field.get("jsonPath") or "")
    if len(fields) > MAX_SELECTABLE:
        text = f"must have at most {MAX_SELECTABLE} items"
        found.append(FieldError("FieldValueTooMany", path, text, len(fields)))
    return found
