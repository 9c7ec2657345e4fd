"""Names of CustomResourceDefinitions, judged: of the definition, of its group, of its kind.

Stage: none; pure.  In: parts of a definition's tree.  Out: field errors in upstream's words.
Truth: apiextensions-apiserver, pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clusterip.api import names
from clusterip.api.checks import each
from clusterip.api.errors import FieldError, invalid, not_supported, required
from clusterip.api.meta import Tree, name_of

SCOPES: Final = ("Cluster", "Namespaced")


def definition_name(tree: Tree, spec: Tree) -> Iterator[FieldError]:
    wanted = f"{(spec.get('names') or {}).get('plural') or ''}.{spec.get('group') or ''}"
    if name_of(tree) != wanted:
        yield invalid("metadata.name", name_of(tree), 'must be spec.names.plural+"."+spec.group')


def group_errors(group: str) -> list[FieldError]:
    if not group:
        return [required("spec.group")]
    if wrong := names.subdomain(group):
        return [invalid("spec.group", group, ",".join(wrong))]
    return [] if "." in group else [invalid("spec.group", group, "should be a domain with at least one dot")]


def scope_errors(scope: str) -> list[FieldError]:
    if not scope:
        return [required("spec.scope")]
    return [] if scope in SCOPES else [not_supported("spec.scope", scope, SCOPES)]


def kind_names(given: Tree) -> list[FieldError]:
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
