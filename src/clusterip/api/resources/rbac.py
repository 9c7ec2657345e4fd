"""Role, ClusterRole and their bindings: who may do what, as objects.

Stage: none; records and their pure functions.  Rules: what they allow is the authorizer's to say.
Truth: kube-apiserver's apis/rbac defaults, validation and printer, recorded answers of 1.36.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clusterip.api import names
from clusterip.api.checks import each, label_selector, reasons
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree
from clusterip.api.names import path_segment
from clusterip.api.resource import Column, Resource
from clusterip.api.schema import descriptions
from clusterip.api.tables import AGE, NAME, at, fixed

GROUP = "rbac.authorization.k8s.io"
KINDS = ("ServiceAccount", "User", "Group")
ROLES = ("Role", "ClusterRole")


def _name_is_segment(name: str, prefix: bool) -> list[str]:
    return path_segment(name, prefix)


# --- roles -----------------------------------------------------------------------------------------------------------


def _rules(rules: Iterable[Tree] | None, *, namespaced: bool) -> list[FieldError]:
    found: list[FieldError] = []
    for path, rule in each("rules", rules):
        found += _rule(path, rule, namespaced=namespaced)
    return found


def _rule(path: str, rule: Tree, *, namespaced: bool) -> list[FieldError]:
    found: list[FieldError] = []
    if not rule.get("verbs"):
        found.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    if rule.get("nonResourceURLs"):
        if namespaced:
            text = "namespaced rules cannot apply to non-resource URLs"
            found.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], text))
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            text = "rules cannot apply to both regular resources and non-resource URLs"
            found.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], text))
        return found
    if not rule.get("apiGroups"):
        found.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        found.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return found


def _validate_role(tree: Tree) -> list[FieldError]:
    return _rules(tree.get("rules"), namespaced=True)


def _validate_cluster_role(tree: Tree) -> list[FieldError]:
    found = _rules(tree.get("rules"), namespaced=False)
    aggregation = tree.get("aggregationRule")
    if aggregation is None:
        return found
    selectors = aggregation.get("clusterRoleSelectors")
    if not selectors:
        text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        return [*found, required("aggregationRule.clusterRoleSelectors", text)]
    for path, selector in each("aggregationRule.clusterRoleSelectors", selectors):
        found += label_selector(path, selector)
    return found


def _validate_role_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate_role(new)


def _validate_cluster_role_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate_cluster_role(new)


# --- bindings --------------------------------------------------------------------------------------------------------


def _default_binding(tree: Tree) -> None:
    reference = tree.setdefault("roleRef", {})
    reference["apiGroup"] = reference.get("apiGroup") or GROUP
    for subject in tree.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = subject.get("apiGroup") or GROUP


def _binding(tree: Tree, kinds: tuple[str, ...], *, namespaced: bool) -> list[FieldError]:
    reference = tree.get("roleRef") or {}
    found: list[FieldError] = []
    if reference.get("apiGroup") != GROUP:
        found.append(not_supported("roleRef.apiGroup", reference.get("apiGroup") or "", (GROUP,)))
    if reference.get("kind") not in kinds:
        found.append(not_supported("roleRef.kind", reference.get("kind") or "", kinds))
    if not reference.get("name"):
        found.append(required("roleRef.name"))
    else:
        found += [invalid("roleRef.name", reference["name"], reason) for reason in path_segment(reference["name"])]
    for path, subject in each("subjects", tree.get("subjects")):
        found += _subject(path, subject, namespaced=namespaced)
    return found


def _subject(path: str, subject: Tree, *, namespaced: bool) -> list[FieldError]:
    kind, name, group = (subject.get(field) or "" for field in ("kind", "name", "apiGroup"))
    found = [] if name else [required(f"{path}.name")]
    if kind == "ServiceAccount":
        if name:
            found += reasons(f"{path}.name", name, names.subdomain)
        if group:
            found.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            found.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != GROUP:
            found.append(not_supported(f"{path}.apiGroup", group, (GROUP,)))
        if subject.get("namespace"):
            found.append(forbidden(f"{path}.namespace", "may not be specified for non-namespaced subjects"))
    else:
        found.append(not_supported(f"{path}.kind", kind, KINDS))
    return found


def _validate_binding(tree: Tree) -> list[FieldError]:
    return _binding(tree, ROLES, namespaced=True)


def _validate_cluster_binding(tree: Tree) -> list[FieldError]:
    return _binding(tree, ("ClusterRole",), namespaced=False)


def _same_role(new: Tree, old: Tree) -> list[FieldError]:
    """A binding that meant another role would be another binding."""
    if new.get("roleRef") == old.get("roleRef"):
        return []
    reference = new.get("roleRef") or {}
    titles = {"APIGroup": "apiGroup", "Kind": "kind", "Name": "name"}
    shown = {title: reference.get(field) or "" for title, field in titles.items()}
    return [invalid("roleRef", shown, "cannot change roleRef")]


def _validate_binding_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate_binding(new) + _same_role(new, old)


def _validate_cluster_binding_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate_cluster_binding(new) + _same_role(new, old)


# --- what is shown ---------------------------------------------------------------------------------------------------

CREATED = Column(
    "Created At",
    fixed(lambda tree: at(tree, "metadata", "creationTimestamp")),
    type="date",
    says="@meta.v1.ObjectMeta.creationTimestamp",
)


def _subjects(kind: str, place: str) -> Column:
    def read(tree: Tree) -> str:
        return ", ".join(_shown(subject) for subject in tree.get("subjects") or () if subject.get("kind") == kind)

    return Column(f"{kind}s", fixed(read), says=f"{kind}s in the {place}", priority=1)


def _shown(subject: Tree) -> str:
    name: str = subject.get("name") or ""
    return f"{subject.get('namespace') or ''}/{name}" if subject.get("kind") == "ServiceAccount" else name


def _role(tree: Tree) -> str:
    reference: dict[str, Any] = tree.get("roleRef") or {}
    return f"{reference.get('kind') or ''}/{reference.get('name') or ''}"


def _binding_columns(definition: str, place: str) -> tuple[Column, ...]:
    """The role's description is that of the group's first version, which knew nothing of immutable fields yet."""
    says = descriptions(f"io.k8s.api.rbac.v1.{definition}")["roleRef"].removesuffix(" This field is immutable.")
    role = Column("Role", fixed(_role), says=says)
    return (NAME, role, AGE, *(_subjects(kind, place) for kind in ("User", "Group", "ServiceAccount")))


ROLE = Resource(
    group=GROUP,
    version="v1",
    kind="Role",
    plural="roles",
    singular="role",
    schema="io.k8s.api.rbac.v1.Role",
    columns=(NAME, CREATED),
    validate=_validate_role,
    validate_update=_validate_role_update,
    name_rule=_name_is_segment,
    create_on_update=True,
)
CLUSTER_ROLE = Resource(
    group=GROUP,
    version="v1",
    kind="ClusterRole",
    plural="clusterroles",
    singular="clusterrole",
    namespaced=False,
    schema="io.k8s.api.rbac.v1.ClusterRole",
    columns=(NAME, CREATED),
    validate=_validate_cluster_role,
    validate_update=_validate_cluster_role_update,
    name_rule=_name_is_segment,
    create_on_update=True,
)
ROLE_BINDING = Resource(
    group=GROUP,
    version="v1",
    kind="RoleBinding",
    plural="rolebindings",
    singular="rolebinding",
    schema="io.k8s.api.rbac.v1.RoleBinding",
    columns=_binding_columns("RoleBinding", "roleBinding"),
    default=_default_binding,
    validate=_validate_binding,
    validate_update=_validate_binding_update,
    name_rule=_name_is_segment,
    create_on_update=True,
)
CLUSTER_ROLE_BINDING = Resource(
    group=GROUP,
    version="v1",
    kind="ClusterRoleBinding",
    plural="clusterrolebindings",
    singular="clusterrolebinding",
    namespaced=False,
    schema="io.k8s.api.rbac.v1.ClusterRoleBinding",
    columns=_binding_columns("ClusterRoleBinding", "clusterRoleBinding"),
    default=_default_binding,
    validate=_validate_cluster_binding,
    validate_update=_validate_cluster_binding_update,
    name_rule=_name_is_segment,
    create_on_update=True,
)
