"""The IP families of a Service: what is given, what was, what the cluster has.

Stage: plan.  In: the prepared Service, the one before it, the cluster's ranges.
Out: ipFamilyPolicy and ipFamilies filled in place; ApiError when they cannot be had.
Rules: pure; addresses are chosen afterwards, by `allocation`.
Truth: KEP-563 (dual stack), answers recorded from 1.36.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from clusterip.api import errors
from clusterip.api.errors import ApiError, FieldError
from clusterip.api.meta import Tree, name_of, spec_of
from clusterip.api.names import parse_address
from clusterip.api.service import HEADLESS, type_of
from clusterip.api.service_validation import cluster_ip_errors

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Ranges:
    """What the cluster has to give; the first network's family is the default one."""

    networks: tuple[Network, ...] = (IPv4Network("10.96.0.0/12"),)
    """One of a family: they say which families there are."""
    node_ports: range = range(30000, 32768)
    spaces: tuple[Network, ...] | None = None
    """Where addresses come from at the moment; None: from the networks."""

    def network_of(self, family: str) -> Network | None:
        return next((network for network in self.networks if family_of(network) == family), None)

    def open_networks(self, family: str) -> tuple[Network, ...]:
        """Those to choose an address from, in order."""
        spaces = self.networks if self.spaces is None else self.spaces
        return tuple(network for network in spaces if family_of(network) == family)

    def holds(self, address: Address) -> bool:
        """Whether the address lies in one of them."""
        spaces = self.networks if self.spaces is None else self.spaces
        return any(address in network for network in spaces)  # of its family: others hold none

    @property
    def default_family(self) -> str:
        return family_of(self.networks[0])


def refuse(service: Tree, *found: FieldError) -> ApiError:
    return ApiError.invalid("", "Service", name_of(service), found)


def family_of(value: Address | Network) -> str:
    return f"IPv{value.version}"


def keeps_prefer_dual_stack(new: Tree, old: Tree) -> bool:
    """A PreferDualStack Service is not changed because the cluster's families changed."""
    fields = ("ipFamilyPolicy", "clusterIPs", "ipFamilies")
    same = all((spec_of(new).get(name) or None) == (spec_of(old).get(name) or None) for name in fields)
    return same and spec_of(new).get("ipFamilyPolicy") == "PreferDualStack" and type_of(new) == type_of(old)


def settle_families(new: Tree, old: Tree | None, ranges: Ranges) -> None:
    """Fill ipFamilyPolicy and ipFamilies from what is given, what was, and what the cluster has."""
    if type_of(new) == "ExternalName":
        return
    spec = new["spec"]
    selectorless = spec.get("clusterIP") == HEADLESS and not spec.get("selector")
    if spec.get("ipFamilyPolicy") is None:
        before = spec_of(old or {}).get("ipFamilyPolicy")
        spec["ipFamilyPolicy"] = before or ("RequireDualStack" if selectorless else "SingleStack")
    if found := cluster_ip_errors(new, old):
        raise refuse(new, *found)
    found = _release_errors(spec, old) if old else []
    found += _policy_errors(spec) + _infer_families(spec, ranges)
    if found:
        raise refuse(new, *found)
    if selectorless:
        _settle_selectorless(spec, ranges)
    else:
        _settle_headful(new, ranges)


def _release_errors(spec: Tree, old: Tree) -> list[FieldError]:
    """Going back to one family: said by the policy, or refused."""
    before, single = spec_of(old), spec["ipFamilyPolicy"] == "SingleStack"
    found = []
    for name, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        new_values, old_values = spec.get(name) or [], before.get(name) or []
        if single and new_values == old_values and len(new_values) > 1:
            spec[name] = new_values[:1]
        elif not single and 0 < len(new_values) < len(old_values):
            detail = f"must be 'SingleStack' to release the secondary {what}"
            found.append(errors.invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], detail))
    return found


def _policy_errors(spec: Tree) -> list[FieldError]:
    if spec["ipFamilyPolicy"] != "SingleStack":
        return []
    words = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    named = (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
    return [
        errors.invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], words.format(what))
        for name, what in named
        if len(spec.get(name) or []) == 2
    ]


def _infer_families(spec: Tree, ranges: Ranges) -> list[FieldError]:
    """A family that is not given follows from the address that is."""
    given = spec.get("clusterIPs") or []
    families = list(spec.get("ipFamilies") or [])
    found = []
    for index, text in enumerate(given if given[:1] != [HEADLESS] else []):
        address = parse_address(text)
        if address is None or index < len(families):
            continue
        if ranges.network_of(family_of(address)) is None:
            detail = f"{family_of(address)} is not configured on this cluster"
            found.append(errors.invalid(f"spec.clusterIPs[{index}]", given, detail))
        else:
            families.append(family_of(address))
    if families:
        spec["ipFamilies"] = families
    return found


def _settle_selectorless(spec: Tree, ranges: Ranges) -> None:
    """Headless without a selector: its endpoints are somebody else's, of any family."""
    families = spec.setdefault("ipFamilies", [ranges.default_family])
    if len(families) < 2 and spec["ipFamilyPolicy"] != "SingleStack":
        families.append(_other(families[0]))


def _other(family: str) -> str:
    return "IPv6" if family == "IPv4" else "IPv4"


def _settle_headful(new: Tree, ranges: Ranges) -> None:
    spec = new["spec"]
    found = []
    if spec["ipFamilyPolicy"] == "RequireDualStack" and len(ranges.networks) < 2:
        detail = "this cluster is not configured for dual-stack services"
        found.append(errors.invalid("spec.ipFamilyPolicy", "RequireDualStack", detail))
    for index, family in enumerate(spec.get("ipFamilies") or []):
        if ranges.network_of(family) is None:
            found.append(errors.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    if found:
        raise refuse(new, *found)
    families = spec["ipFamilies"] = spec.get("ipFamilies") or [ranges.default_family]
    if spec["ipFamilyPolicy"] != "SingleStack" and len(families) == 1 and len(ranges.networks) == 2:
        families.append(_other(families[0]))
