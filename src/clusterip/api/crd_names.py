"""Names of CustomResourceDefinitions, judged: of the definition, of its group, of its kind.

Stage: none; pure.  In: parts of a definition's tree.  Out: field errors in upstream's words.
Truth: apiextensions-apiserver, pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from clusterip.api import names
from clusterip.api.checks import each
from clusterip.api.errors import FieldError, invalid, not_supported, quoted, required
from clusterip.api.meta import Tree, name_of

PROTECTED: Final = (".k8s.io", ".kubernetes.io")
APPROVED: Final = "api-approved.kubernetes.io"
RULES: Final = "https://github.com/kubernetes/enhancements/pull/1111"
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


def approval(crd: Tree) -> tuple[str, str, str]:
    """Of a group that is Kubernetes' own: the status, reason and message of the condition that says who agreed.

    Of other groups nothing.
    """
    group = (crd.get("spec") or {}).get("group") or ""
    if not f".{group}".endswith(PROTECTED):
        return "", "", ""
    text = ((crd.get("metadata") or {}).get("annotations") or {}).get(APPROVED) or ""
    if not text:
        return "False", "MissingAnnotation", f'protected groups must have approval annotation "{APPROVED}", see {RULES}'
    if text.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f"not approved: {quoted(text)}"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]+", text):
        return "True", "ApprovedAnnotation", f"approved in {text}"
    form = f'"{APPROVED}" with either a URL or a reason starting with "unapproved"'
    return (
        "False",
        "InvalidAnnotation",
        f"protected groups must have approval annotation {form}, see {RULES}",
    )


def approval_errors(crd: Tree) -> list[FieldError]:
    """A new definition in such a group says so."""
    _, reason, message = approval(crd)
    path = f"metadata.annotations[{APPROVED}]"
    if reason == "MissingAnnotation":
        return [required(path, message)]
    text = ((crd.get("metadata") or {}).get("annotations") or {}).get(APPROVED) or ""
    return [invalid(path, text, message)] if reason == "InvalidAnnotation" else []
