"""CustomResourceDefinitions, judged: names, versions, and whether their schemas are structural.

Stage: none; pure.  In: a definition's tree.  Out: field errors in upstream's words.
Rules: what all versions share is told as upstream's inner form has it: at spec.validation.
Truth: apiextensions-apiserver, pkg/apis/apiextensions/validation and pkg/apiserver/schema/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from clusterip.api import cel, cel_rules, names, structural_validation
from clusterip.api.checks import each, immutable
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.jsonpath import PathError
from clusterip.api.jsonpath import parse as parse_path
from clusterip.api.meta import Tree, name_of
from clusterip.api.structural import EMBEDDED, INT_OR_STRING, PRESERVE
from clusterip.api.structural_validation import expression

SCOPES: Final = ("Cluster", "Namespaced")
STRATEGIES: Final = ("None", "Webhook")
REVIEW_VERSIONS: Final = ("v1", "v1beta1")
COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
AT_LEVEL: Final = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
OF_SEVERAL: Final = ("allOf", "anyOf", "oneOf")
INT_OR_STRING_FORM: Final = [{"type": "integer"}, {"type": "string"}]
MAX_SELECTABLE: Final = 8
QUADRATIC: Final = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"


def errors(tree: Tree) -> list[FieldError]:
    """What is wrong with a definition."""
    spec = tree.get("spec") or {}
    found = list(_name(tree, spec))
    found += _group(spec.get("group") or "")
    found += _scope(spec.get("scope") or "")
    versions = spec.get("versions") or []
    found += _missing_schemas(versions)
    found += _versions(versions)
    found += _names(spec.get("names") or {})
    for path, schema in schema_paths(versions):
        wrong = sorted(_structure(schema, path, "root"), key=lambda error: error.field)
        found += wrong or list(cel_rules.faults(schema, path))
    return found + _conversion(spec.get("conversion") or {})


def warnings(tree: Tree, old: Tree | None) -> list[str]:
    """Rules that nobody asks here."""
    schemas = [schema for _, schema in schema_paths((tree.get("spec") or {}).get("versions") or [])]
    if cel.is_available() or not any(cel_rules.has_rules(schema) for schema in schemas):
        return []
    return [f"{cel_rules.RULES} are not evaluated: this machine has no cel-expr-python"]


def update_errors(new: Tree, old: Tree) -> list[FieldError]:
    """What is wrong with a changed definition; what the storage goes by cannot change."""
    found = errors(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    names_now, names_before = spec.get("names") or {}, before.get("names") or {}
    if is_established(old):
        found += immutable("spec.scope", spec.get("scope"), before.get("scope"))
        found += immutable("spec.names.kind", names_now.get("kind"), names_before.get("kind"))
    found += immutable("spec.group", spec.get("group"), before.get("group"))
    found += immutable("spec.names.plural", names_now.get("plural"), names_before.get("plural"))
    return found + _stored_versions(new)


def is_established(tree: Tree) -> bool:
    conditions = (tree.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)


def schema_of(version: Tree) -> Tree | None:
    found: Tree | None = (version.get("schema") or {}).get("openAPIV3Schema")
    return found


def schema_paths(versions: list[Tree]) -> list[tuple[str, Tree]]:
    """The schemas with their places; one that all versions share stands at the top."""
    found = [(f"spec.versions[{i}].schema.openAPIV3Schema", schema_of(version)) for i, version in enumerate(versions)]
    present = [(path, schema) for path, schema in found if schema is not None]
    if present and len(present) == len(versions) and all(schema == present[0][1] for _, schema in present):
        return [("spec.validation.openAPIV3Schema", present[0][1])]
    return present


# --- names and versions ----------------------------------------------------------------------------------------------


def _name(tree: Tree, spec: Tree) -> Iterator[FieldError]:
    wanted = f"{(spec.get('names') or {}).get('plural') or ''}.{spec.get('group') or ''}"
    if name_of(tree) != wanted:
        yield invalid("metadata.name", name_of(tree), 'must be spec.names.plural+"."+spec.group')


def _group(group: str) -> list[FieldError]:
    if not group:
        return [required("spec.group")]
    if wrong := names.subdomain(group):
        return [invalid("spec.group", group, ",".join(wrong))]
    return [] if "." in group else [invalid("spec.group", group, "should be a domain with at least one dot")]


def _scope(scope: str) -> list[FieldError]:
    if not scope:
        return [required("spec.scope")]
    return [] if scope in SCOPES else [not_supported("spec.scope", scope, SCOPES)]


def _missing_schemas(versions: list[Tree]) -> list[FieldError]:
    return [
        required(f"{path}.schema.openAPIV3Schema")
        for path, version in each("spec.versions", versions)
        if schema_of(version) is None
    ]


def _versions(versions: list[Tree]) -> list[FieldError]:
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


def _names(given: Tree) -> list[FieldError]:
    found = [
        required(f"spec.names.{field}") for field in ("plural", "singular", "kind", "listKind") if not given.get(field)
    ]
    found += [
        invalid(f"spec.names.{field}", given[field], ",".join(wrong))
        for field in ("plural", "singular")
        if given.get(field) and (wrong := names.label_1035(given[field]))
    ]
    for field in ("kind", "listKind"):
        if given.get(field) and (wrong := names.label_1035(given[field].lower())):
            text = "may have mixed case, but should otherwise match: " + ",".join(wrong)
            found.append(invalid(f"spec.names.{field}", given[field], text))
    for field in ("shortNames", "categories"):
        for path, name in each(f"spec.names.{field}", given.get(field)):
            if wrong := names.label_1035(name):
                found.append(invalid(path, name, ",".join(wrong)))
    if given.get("kind") and given["kind"] == given.get("listKind"):
        found.append(invalid("spec.names.listKind", given["listKind"], "kind and listKind may not be the same"))
    return found


def _conversion(conversion: Tree) -> list[FieldError]:
    path, strategy = "spec.conversion", conversion.get("strategy") or ""
    if not strategy:
        return [required(f"{path}.strategy")]
    if strategy not in STRATEGIES:
        return [not_supported(f"{path}.strategy", strategy, STRATEGIES)]
    webhook = conversion.get("webhook") or {}
    if strategy == "None":
        if not webhook.get("clientConfig"):
            return []
        return [forbidden(f"{path}.webhookClientConfig", "should not be set when strategy is not set to Webhook")]
    return _webhook(path, webhook)


def _webhook(path: str, webhook: Tree) -> list[FieldError]:
    client, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    found: list[FieldError] = []
    if client is None:
        found.append(required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook"))
    elif (client.get("url") is None) == (client.get("service") is None):
        found.append(required(f"{path}.webhookClientConfig", "exactly one of url or service is required"))
    if not versions:
        found.append(required(f"{path}.conversionReviewVersions"))
    elif not set(versions) & set(REVIEW_VERSIONS):
        text = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
        found.append(invalid(f"{path}.conversionReviewVersions", versions, text))
    return found


def _stored_versions(tree: Tree) -> list[FieldError]:
    listed = {version.get("name") for version in tree["spec"].get("versions") or ()}
    found = []
    for path, name in each("status.storedVersions", (tree.get("status") or {}).get("storedVersions")):
        if name not in listed:
            text = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            found.append(invalid(path, name, text))
    return found


# --- schemas ---------------------------------------------------------------------------------------------------------


def _structure(schema: Tree, path: str, level: str) -> Iterator[FieldError]:
    """Every value has a type, and what several schemas say together adds no structure of its own."""
    kind, more = schema.get("type") or "", schema.get("additionalProperties")
    if schema.get("$ref"):
        yield forbidden(f"{path}.$ref", "$ref is not supported")
        return
    yield from _type(schema, kind, path, level)
    yield from _extensions(schema, kind, path, level)
    if kind == "array" and schema.get("items") is None:
        yield required(f"{path}.items", "must be specified")
    if isinstance(schema.get("items"), list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if schema.get("uniqueItems"):
        yield forbidden(f"{path}.uniqueItems", QUADRATIC)
    if isinstance(schema.get("items"), dict):
        yield from _structure(schema["items"], f"{path}.items", "item")
    for key, inner in (schema.get("properties") or {}).items():
        if level == "root" and key == "metadata":
            yield from _metadata(inner, f"{path}.properties[metadata]")
        else:
            yield from _structure(inner, f"{path}.properties[{key}]", "field")
    if more is not None and more is not False and level == "root":
        yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(more, dict):
        yield from _structure(more, f"{path}.additionalProperties", "field")
    if more and schema.get("properties"):
        yield forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if schema.get(INT_OR_STRING) and schema.get(PRESERVE):
        yield invalid(f"{path}.{PRESERVE}", True, "must be false if x-kubernetes-int-or-string is true")
    yield from _list_type(schema, path)
    yield from _junctors(schema, path)


def _extensions(schema: Tree, kind: str, path: str, level: str) -> Iterator[FieldError]:
    """What the extensions of a schema ask of it, and of its default."""
    maps, items = schema.get("x-kubernetes-map-type"), schema.get("items")
    if maps is not None and maps not in ("atomic", "granular"):
        yield not_supported(f"{path}.x-kubernetes-map-type", maps, ("atomic", "granular"))
    elif maps is not None and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object if x-kubernetes-map-type is specified")
    if schema.get(PRESERVE) is False:
        yield invalid(f"{path}.{PRESERVE}", False, "must be true or undefined")
    if schema.get(EMBEDDED) and kind == "object" and not schema.get(PRESERVE) and not schema.get("properties"):
        text = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        yield required(f"{path}.properties", text)
    if level == "root" and schema.get("nullable"):
        yield forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    if schema.get("x-kubernetes-list-type") == "set" and isinstance(items, dict) and items.get("type") == "object":
        held = items.get("x-kubernetes-map-type")
        if held != "atomic":
            text = "must be atomic as item of a list with x-kubernetes-list-type=set"
            yield invalid(f"{path}.items.x-kubernetes-map-type", held, text)
    if level != "root" and schema.get("default") is not None:
        for error in structural_validation.value_errors(schema["default"], schema):
            yield replace(error, field=f"{path}.default" + (f".{error.field}" if error.field else ""))


def _type(schema: Tree, kind: str, path: str, level: str) -> Iterator[FieldError]:
    if kind and kind not in TYPES:
        yield not_supported(f"{path}.type", kind, TYPES)
    elif schema.get(EMBEDDED) and kind != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        yield required(f"{path}.type", f"must not be empty {AT_LEVEL[level]}")
    elif level == "root" and kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")


def _metadata(schema: Tree, path: str) -> Iterator[FieldError]:
    """A schema may narrow the names, nothing else."""
    if schema.get("type") != "object":
        yield invalid(f"{path}.type", schema.get("type") or "", "must be object")
    more = set(schema) - {"type", "properties", "description"} or set(schema.get("properties") or ()) - {
        "name",
        "generateName",
    }
    if more:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden(path, text)


def _list_type(schema: Tree, path: str) -> Iterator[FieldError]:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    if kind is not None and schema.get("type") != "array":
        yield invalid(f"{path}.type", schema.get("type") or "", "must be array if x-kubernetes-list-type is specified")
    if kind is not None and kind not in ("atomic", "set", "map"):
        yield not_supported(f"{path}.x-kubernetes-list-type", kind, ("atomic", "set", "map"))
    if kind == "map" and not keys:
        text = "must not be empty if x-kubernetes-list-type is map"
        yield required(f"{path}.x-kubernetes-list-map-keys", text)
    if keys and kind != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield invalid(f"{path}.x-kubernetes-list-type", kind or "", text)
    items = schema.get("items")
    properties = items.get("properties") or {} if kind == "map" and isinstance(items, dict) else {}
    for where, key in each(f"{path}.x-kubernetes-list-map-keys", keys if kind == "map" else ()):
        if key not in properties:
            yield invalid(where, key, "entries must all be names of item properties")


def _junctors(schema: Tree, path: str) -> Iterator[FieldError]:
    for word in OF_SEVERAL:
        if word == "anyOf" and schema.get(INT_OR_STRING) and schema.get(word) == INT_OR_STRING_FORM:
            continue
        for where, inner in each(f"{path}.{word}", schema.get(word)):
            yield from _nested(inner, where, is_special=bool(schema.get(INT_OR_STRING)))
    if schema.get("not") is not None:
        yield from _nested(schema["not"], f"{path}.not")
    if pattern := schema.get("pattern"):
        try:
            expression(pattern)
        except re.error as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(f"{path}.pattern", pattern, text)


FORBIDDEN_BELOW: Final[dict[str, tuple[str, Any]]] = {
    "type": ("must be empty to be structural", ""),
    "additionalProperties": ("must be undefined to be structural", None),
    "description": ("must be empty to be structural", ""),
    "title": ("must be empty to be structural", ""),
    "default": ("must be undefined to be structural", None),
    "nullable": ("must be false to be structural", False),
    PRESERVE: ("must be false to be structural", False),
    EMBEDDED: ("must be false to be structural", False),
    INT_OR_STRING: ("must be false to be structural", False),
}


def _nested(schema: Tree, path: str, *, is_special: bool = False) -> Iterator[FieldError]:
    """What stands under allOf, anyOf, oneOf or not judges values only."""
    if is_special and schema.get("anyOf") == INT_OR_STRING_FORM:
        schema = {key: value for key, value in schema.items() if key != "anyOf"}
    for field, (text, empty) in FORBIDDEN_BELOW.items():
        if field in schema and schema[field] != empty:
            yield forbidden(f"{path}.{field}", text)
    for key, inner in (schema.get("properties") or {}).items():
        yield from _nested(inner, f"{path}.properties[{key}]")
    if isinstance(schema.get("items"), dict):
        yield from _nested(schema["items"], f"{path}.items")
    yield from _junctors(schema, path)
