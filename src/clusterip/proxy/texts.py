"""Addresses and networks out of the texts of objects.

Stage: snapshot.  In: texts, a family.  Out: addresses and networks of that family.
Rules: pure but for the log: what cannot be read is left out with a warning, never a reason to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from socket import AF_INET, AF_INET6, inet_pton  # noqa: TID251  (reads texts, opens nothing)

from clusterip.proxy.model import Family, IPAddress, IPNetwork

logger = logging.getLogger(__name__)

CLASSES: dict[Family, type[IPAddress]] = {Family.IPV4: IPv4Address, Family.IPV6: IPv6Address}
SOCKET_FAMILIES = {Family.IPV4: AF_INET, Family.IPV6: AF_INET6}
NOTHING = ("", "None")


def parsed(texts: Iterable[str], family: Family) -> Iterator[IPAddress]:
    """The addresses of a family among these texts."""
    for text in texts:
        if (":" in text) != (family is Family.IPV6):
            if text not in NOTHING and parse_address(text) is None:
                logger.warning("Ignoring what is not an address", extra={"kv": {"address": text}})
            continue
        address = parse(text, family)
        if address is not None:
            yield address


def parse(text: str, family: Family) -> IPAddress | None:
    """One address of that family; what is none is told."""
    try:
        return _address(text, family)
    except ValueError:
        if text not in NOTHING:
            logger.warning("Ignoring what is not an address", extra={"kv": {"address": text}})
        return None


def parse_address(text: str) -> IPAddress | None:
    """An address of either family."""
    try:
        return _address(text, Family.IPV6 if ":" in text else Family.IPV4)
    except ValueError:
        return None


def _address(text: str, family: Family) -> IPAddress:
    """The C library reads addresses as strictly as the standard library does, and three times as fast."""
    try:
        return CLASSES[family](inet_pton(SOCKET_FAMILIES[family], text))
    except OSError as error:
        raise ValueError(text) from error


def networks(texts: Iterable[str], family: Family, of: object) -> Iterator[IPNetwork]:
    """White space and host bits are tolerated, as in old objects; networks of the other family mean nothing here."""
    for text in texts:
        try:
            network = ip_network(_without_zeros(text.strip()), strict=False)
        except ValueError:
            values = {"object": of, "range": text}
            logger.warning("Ignoring what is not a network", extra={"kv": values})
            continue
        if network.version == family:
            yield network


def _without_zeros(text: str) -> str:
    """Old objects may have leading zeros, which are not octal here, as upstream."""
    address, slash, length = text.partition("/")
    if ":" in address:
        return text
    return ".".join(part.lstrip("0") or "0" if part.isdigit() else part for part in address.split(".")) + slash + length
