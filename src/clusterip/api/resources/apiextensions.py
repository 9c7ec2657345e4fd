"""CustomResourceDefinition: kinds that come at run time.

Stage: none; a record and its pure functions.  Rules: what the definition makes is customresource.py's; who serves it
sets its conditions.
Truth: apiextensions-apiserver, registry/customresourcedefinition and v1/defaults.go; recorded answers of 1.36.
"""

from __future__ import annotations

from clusterip.api import crd_validation
from clusterip.api.meta import Tree
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import first_generation, next_generation, only_status
from clusterip.api.tables import NAME, at, fixed

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_next_generation = next_generation("spec")


def _default(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    names["singular"] = names.get("singular") or kind.lower()
    if kind:
        names["listKind"] = names.get("listKind") or f"{kind}List"
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    service = at(spec, "conversion", "webhook", "clientConfig", "service")
    if service is not None:
        service.setdefault("port", 443)


def _prepare_create(tree: Tree) -> None:
    first_generation(tree)
    tree["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}
    _note_storage(tree)


def _prepare_update(new: Tree, old: Tree) -> None:
    _next_generation(new, old)
    new.setdefault("status", {})
    _note_storage(new)


def _note_storage(tree: Tree) -> None:
    """A version that was ever stored is remembered."""
    stored = [each.get("name") or "" for each in tree["spec"].get("versions") or () if each.get("storage")][:1]
    known = tree["status"].get("storedVersions") or []
    tree["status"]["storedVersions"] = known + [name for name in stored if name not in known]


def _prepare_delete(tree: Tree, now: str) -> None:
    """Its objects go first."""
    metadata = tree["metadata"]
    metadata["finalizers"] = list(dict.fromkeys((*(metadata.get("finalizers") or ()), CLEANUP)))
    text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    condition = {"type": "Terminating", "status": "True", "lastTransitionTime": now}
    condition |= {"reason": "InstanceDeletionPending", "message": text}
    status = tree.setdefault("status", {})
    status["conditions"] = [*(status.get("conditions") or ()), condition]


CUSTOM_RESOURCE_DEFINITION = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    schema="io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    columns=(
        NAME,
        Column(
            "Created At",
            fixed(lambda tree: at(tree, "metadata", "creationTimestamp")),
            type="date",
            says="@meta.v1.ObjectMeta.creationTimestamp",
        ),
    ),
    subresources={"status": Subresource(kind="CustomResourceDefinition")},
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    prepare_status=only_status(),
    prepare_delete=_prepare_delete,
    validate=crd_validation.errors,
    validate_update=crd_validation.update_errors,
    warnings=crd_validation.warnings,
    name_rule=name_is_subdomain,
    unconditional_update=False,
)
