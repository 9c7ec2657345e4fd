"""RuntimeClass: how pods are run. Nothing here acts on it.

Stage: none; a record and its pure functions.  Truth: kube-apiserver's apis/node validation and printer of 1.36.
"""

from __future__ import annotations

from clusterip.api.checks import immutable, label_map, reasons
from clusterip.api.errors import FieldError, required
from clusterip.api.meta import Tree
from clusterip.api.names import label, name_is_subdomain
from clusterip.api.resource import Column, Resource
from clusterip.api.resource_validation import resource_errors
from clusterip.api.scheduling_validation import toleration_errors
from clusterip.api.tables import AGE, NAME, text


def _validate(tree: Tree) -> list[FieldError]:
    found = reasons("handler", tree["handler"], label) if tree.get("handler") else [required("handler")]
    fixed_amounts = (tree.get("overhead") or {}).get("podFixed")
    if fixed_amounts:
        found += resource_errors("overhead", {"limits": fixed_amounts})
    scheduling = tree.get("scheduling") or {}
    found += label_map("scheduling.nodeSelector", scheduling.get("nodeSelector") or {})
    return found + toleration_errors("scheduling.tolerations", scheduling.get("tolerations") or [])


RUNTIME_CLASS = Resource(
    group="node.k8s.io",
    version="v1",
    kind="RuntimeClass",
    plural="runtimeclasses",
    singular="runtimeclass",
    namespaced=False,
    schema="io.k8s.api.node.v1.RuntimeClass",
    columns=(NAME, Column("Handler", text("handler"), says=""), AGE),
    validate=_validate,
    validate_update=lambda new, old: immutable("handler", new.get("handler"), old.get("handler")),
    name_rule=name_is_subdomain,
)
