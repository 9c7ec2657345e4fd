"""Leases: who holds what, and until when.

Stage: none; a record and its pure functions.  Truth: kube-apiserver's apis/coordination.
"""

from __future__ import annotations

from clusterip.api import names
from clusterip.api.checks import not_negative, reasons
from clusterip.api.errors import FieldError, forbidden, invalid
from clusterip.api.meta import Tree
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource
from clusterip.api.tables import AGE, NAME, text

STRATEGIES = "OldestEmulationVersion"


def _validate(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    found = []
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        found.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    found += not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    strategy = spec.get("strategy")
    if strategy is not None and "/" in strategy:
        found += reasons("spec.strategy", strategy, names.qualified_name)
    elif strategy is not None and strategy != STRATEGIES:
        found.append(invalid("spec.strategy", strategy, f"must be '{STRATEGIES}' or a qualified name"))
    if spec.get("preferredHolder") and not strategy:
        found.append(forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined"))
    return found


LEASE = Resource(
    group="coordination.k8s.io",
    version="v1",
    kind="Lease",
    plural="leases",
    singular="lease",
    schema="io.k8s.api.coordination.v1.Lease",
    columns=(
        NAME,
        Column("Holder", text("spec", "holderIdentity"), says="@coordination.v1.LeaseSpec.holderIdentity"),
        AGE,
    ),
    validate=_validate,
    validate_update=lambda new, old: _validate(new),
    name_rule=name_is_subdomain,
    create_on_update=True,
    unconditional_update=False,
)
