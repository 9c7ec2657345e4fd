"""PodDisruptionBudget: how many pods of a kind may be away at once by somebody's wish.

Stage: none; a record and its pure functions.
Truth: kube-apiserver's apis/policy validation and printer, recorded answers of 1.36.
"""

from __future__ import annotations

from clusterip.api.checks import label_selector
from clusterip.api.errors import FieldError, invalid, not_supported
from clusterip.api.meta import Tree
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import first_generation, next_generation, only_status
from clusterip.api.tables import AGE, NAME, at, fixed, number
from clusterip.api.workload import at_most_all, counts, number_or_percent

EVICTION_POLICIES = ("IfHealthyBudget", "AlwaysAllow")


def _validate(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    found: list[FieldError] = []
    if least is not None and most is not None:
        found.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            path = f"spec.{field}"
            found += number_or_percent(path, value) + at_most_all(path, value)
    found += label_selector("spec.selector", spec.get("selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in EVICTION_POLICIES:
        found.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES))
    return found


def _validate_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate(new)


def _validate_status(new: Tree, old: Tree) -> list[FieldError]:
    fields = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    return counts("status", new.get("status") or {}, *fields)


def _amount(name: str, field: str, says: str) -> Column:
    def read(tree: Tree) -> str:
        value = at(tree, "spec", field)
        return "N/A" if value is None else str(value)

    return Column(name, fixed(read), says=says)


POD_DISRUPTION_BUDGET = Resource(
    group="policy",
    version="v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    singular="poddisruptionbudget",
    short_names=("pdb",),
    schema="io.k8s.api.policy.v1.PodDisruptionBudget",
    columns=(
        NAME,
        _amount("Min Available", "minAvailable", "The minimum number of pods that must be available."),
        _amount("Max Unavailable", "maxUnavailable", "The maximum number of pods that may be unavailable."),
        Column(
            "Allowed Disruptions",
            number("status", "disruptionsAllowed"),
            type="integer",
            says="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    ),
    subresources={"status": Subresource(kind="PodDisruptionBudget")},
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    prepare_status=only_status(),
    validate=_validate,
    validate_update=_validate_update,
    validate_status=_validate_status,
    name_rule=name_is_subdomain,
    unconditional_update=False,
)
