"""What is said of addresses and networks that are valid, or once were, but are not written as they should be.

Stage: none; pure checks.  In: a path and a text.  Out: warnings.
Truth: apimachinery's util/validation/ip.go of 1.36, RFC 5952.
"""

from __future__ import annotations

from ipaddress import ip_network

from clusterip.api import names
from clusterip.api.addresses import balancers_of
from clusterip.api.checks import each
from clusterip.api.meta import Tree
from clusterip.api.names import parse_address


def address_warning(path: str, value: str) -> list[str]:
    """An address that only sloppy readers take, or an IPv6 address not written as RFC 5952 wants it."""
    found = parse_address(value)
    if found is None or str(found) == value:
        return []
    if names.address(value):
        return [f'{path}: non-standard IP address "{value}" is invalid: use "{found}"']
    return [f'{path}: IPv6 address "{value}" should be in RFC 5952 canonical format ("{found}")']


def network_warning(path: str, value: str) -> list[str]:
    """As address_warning, of a network; and bits that the prefix does not reach."""
    text, slash, length = value.partition("/")
    address = parse_address(text)
    if address is None or not slash or not length.isascii() or not length.isdigit():
        return []
    bits = int(length) - (96 if ":" in text and address.version == 4 else 0)
    if not 0 <= bits <= address.max_prefixlen:
        return []
    network = ip_network((address, bits), strict=False)
    found = []
    if network.network_address != address:
        single = f"{address}/{address.max_prefixlen}"
        found.append(
            f'{path}: CIDR value "{value}" is ambiguous in this context (should be "{network}" or "{single}"?)'
        )
    if names.address(text) or str(int(length)) != length:
        found.append(f'{path}: non-standard CIDR value "{value}" is invalid: use "{network}"')
    if not found and address.version == 6 and str(network) != value:
        found.append(f'{path}: IPv6 CIDR value "{value}" should be in RFC 5952 canonical format ("{network}")')
    return found


# --- of kinds --------------------------------------------------------------------------------------------------------


def of_load_balancer(tree: Tree) -> list[str]:
    """Of a load balancer's addresses; at .ip they are, at their item they are told, as upstream has it."""
    listed = each("status.loadBalancer.ingress", balancers_of(tree))
    return [text for path, item in listed for text in address_warning(path, item.get("ip") or "")]


def of_pod_status(tree: Tree) -> list[str]:
    """Of a pod's own addresses and those of its node."""
    status = tree.get("status") or {}
    listed = [found for field in ("podIPs", "hostIPs") for found in each(f"status.{field}", status.get(field))]
    return [text for path, item in listed for text in address_warning(f"{path}.ip", item.get("ip") or "")]


def of_node(tree: Tree, old: Tree | None) -> list[str]:
    """Of a node's networks, and of fields that nothing reads any more."""
    spec = tree.get("spec") or {}
    gone = ["spec.configSource: the feature is removed"] if spec.get("configSource") else []
    unused = "spec.externalID: this field is deprecated, and is unused by Kubernetes"
    gone += [unused] if spec.get("externalID") else []
    listed = each("spec.podCIDRs", spec.get("podCIDRs"))
    return gone + [text for path, value in listed for text in network_warning(path, value)]


def of_network_policy(tree: Tree, old: Tree | None) -> list[str]:
    """Of the networks that rules let in and out."""
    spec = tree.get("spec") or {}
    found = []
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for rule_path, rule in each(f"spec.{direction}", spec.get(direction)):
            for path, peer in each(f"{rule_path}.{peers}", rule.get(peers)):
                found += _of_block(f"{path}.ipBlock", peer.get("ipBlock") or {})
    return found


def _of_block(path: str, block: Tree) -> list[str]:
    listed = [(f"{path}.cidr", block.get("cidr") or ""), *each(f"{path}.except", block.get("except"))]
    return [text for place, value in listed for text in network_warning(place, value)]
