"""CustomResourceDefinitions, judged: names, versions, and whether their schemas are structural.

Stage: none; pure.  In: a definition's tree.  Out: field errors in upstream's words.
Rules: what all versions share is told as upstream's inner form has it: at spec.validation.
Truth: apiextensions-apiserver, pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from clusterip.api import cel, cel_rules, crd_conversion, crd_names, crd_structure, crd_versions
from clusterip.api.checks import each, immutable
from clusterip.api.crd_versions import schema_of
from clusterip.api.errors import FieldError, invalid, quoted
from clusterip.api.meta import Tree

PRESERVES: Final = (
    "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
)


def errors(tree: Tree) -> list[FieldError]:
    """What is wrong with a new definition."""
    named = list(crd_names.definition_name(tree, tree.get("spec") or {}))
    return named + _errors(tree, ()) + crd_names.approval_errors(tree)


def _errors(tree: Tree, unchanged: Collection[str], *, needs_bundle: bool = False) -> list[FieldError]:
    """The same, where the schemas of some versions were there before."""
    spec = tree.get("spec") or {}
    found = crd_names.group_errors(spec.get("group") or "")
    found += crd_names.scope_errors(spec.get("scope") or "")
    versions = spec.get("versions") or []
    if spec.get("preserveUnknownFields"):
        found.append(invalid("spec.preserveUnknownFields", True, PRESERVES))
    found += crd_versions.missing_schemas(versions)
    found += crd_versions.errors(versions)
    found += crd_names.kind_names(spec.get("names") or {})
    for path, version in schema_paths(versions):
        schema = schema_of(version) or {}
        wrong = sorted(crd_structure.errors(schema, path, "root"), key=lambda error: error.field)
        is_unchanged = version.get("name") in unchanged
        found += wrong or list(cel_rules.faults(schema, path, is_unchanged=is_unchanged))
    return found + crd_conversion.errors(spec.get("conversion") or {}, needs_bundle=needs_bundle)


def _unchanged(spec: Tree, before: Tree) -> set[str]:
    """The versions whose schemas are as they were: their rules may cost what they did."""
    known = {each.get("name"): schema_of(each) for each in before.get("versions") or ()}
    named = {each["name"]: schema_of(each) for each in spec.get("versions") or () if "name" in each}
    return {name for name, schema in named.items() if name in known and known[name] == schema}


def warnings(tree: Tree, old: Tree | None) -> list[str]:
    """Formats that nobody asks, and rules that nobody asks here."""
    versions = (tree.get("spec") or {}).get("versions") or ()
    before = set(_unknown_formats(old)) if old else ()
    found = [f"unrecognized format {quoted(name)}" for name in _unknown_formats(tree) if name not in before]
    if not cel.is_available() and any(cel_rules.has_rules(schema_of(each) or {}) for each in versions):
        found.append(f"{cel_rules.RULES} are not evaluated: this machine has no cel-expr-python")
    return found


def _unknown_formats(tree: Tree) -> list[str]:
    versions = (tree.get("spec") or {}).get("versions") or ()
    return [name for version in versions for name in crd_structure.unknown_formats(schema_of(version) or {})]


def update_errors(new: Tree, old: Tree) -> list[FieldError]:
    """What is wrong with a changed definition; what the storage goes by cannot change."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    needs_bundle = is_established(old) and crd_conversion.has_bundle(old)
    found = _errors(new, _unchanged(spec, before), needs_bundle=needs_bundle)
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


def schema_paths(versions: list[Tree]) -> list[tuple[str, Tree]]:
    """The versions that have schemas, with their schemas' places; one that all versions share stands at the top."""
    found = [(f"spec.versions[{i}].schema.openAPIV3Schema", version) for i, version in enumerate(versions)]
    present = [(path, version) for path, version in found if schema_of(version) is not None]
    shared = present and all(schema_of(version) == schema_of(versions[0]) for version in versions)
    return [("spec.validation.openAPIV3Schema", versions[0])] if shared else present


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
