"""What is said of addresses and networks that are valid, or once were, but are not written as they should be.

Stage: none; pure checks.  In: a path and a text.  Out: warnings.
Truth: apimachinery's util/validation/ip.go of 1.36, RFC 5952.
"""

from __future__ import annotations

from ipaddress import ip_network

from clusterip.api import names
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
