"""What Kubernetes adds to CEL: URLs, addresses, networks, quantities, lists, expressions.

Stage: none; pure.  In: plain values.  Out: plain values; a ValueError is the expression's failure.
Rules: an address, a network, a URL and a quantity are their canonical texts here, so that equal ones are equal.
Limits: `indexOf` of lists has another name here, which cel_paths.py puts in; macros of two variables and `sortBy` are
        not there.
Truth: apiserver's pkg/cel/library: urls, ip, cidr, quantity, lists, regex; cel-go's ext/lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from clusterip.api import cel_authorizer, cel_formats, patterns
from clusterip.api.errors import quoted

Network = Any


def _address(text: str) -> IPv4Address | IPv6Address:
    found = ip_address(text)
    if "%" in text or (isinstance(found, IPv6Address) and found.ipv4_mapped):
        raise ValueError(f"IP Address {text!r} has a form that is not allowed")
    return found


def _network(text: str) -> Network:
    address, slash, _ = text.partition("/")
    if not slash:
        why = "network address parse error during conversion from string: "
        raise ValueError(f"{why * 2}netip.ParsePrefix({quoted(text)}): no '/'")
    _address(address)
    return ip_network(text, strict=False)


def _ip(text: str) -> str:
    return str(_address(text))


def _cidr(text: str) -> str:
    network = _network(text)
    return f"{_address(text.partition('/')[0])}/{network.prefixlen}"


def _url(text: str) -> str:
    parts = urlsplit(text)
    if not (parts.scheme or text.startswith("/")) or any(char.isspace() for char in text):
        raise ValueError(
            f"URL parse error during conversion from string: parse {quoted(text)}: invalid URI for request"
        )
    return text


_SUFFIXES: Final = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_QUANTITY: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d+))?")


def _number(text: str) -> Decimal:
    found = _QUANTITY.fullmatch(text)
    if not found:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, binary, decimal, exponent = found.groups()
    if binary:
        return Decimal(number) * Decimal(1024 ** ("KMGTPE".index(binary[0]) + 1))
    power = int(exponent) if exponent else 3 * _SUFFIXES[decimal or ""]
    return Decimal(number).scaleb(power)


def _plain(number: Decimal) -> str:
    text = format(number.normalize(), "f")
    return text if text not in ("-0", "") else "0"


def _integer(text: str) -> int:
    number = _number(text)
    if number != int(number) or abs(number) >= 2**63:
        raise ValueError("cannot convert value to integer")
    return int(number)


def _compare(left: str, right: str) -> int:
    if cel_formats.is_version(left) and cel_formats.is_version(right):
        return cel_formats.compared(left, right)
    a, b = _number(left), _number(right)
    return (a > b) - (a < b)


def _is(read: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return check


def _contains(network: str, other: str) -> bool:
    return _address(other) in _network(network)


def _contains_network(network: str, other: str) -> bool:
    outer, inner = _network(network), _network(other)
    return bool(outer.version == inner.version and inner.subnet_of(outer))


def _masked(text: str) -> str:
    return str(_network(text))


def _find(text: str, pattern: str) -> str:
    found = patterns.compiled(pattern).search(text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [found[0] for found in patterns.compiled(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


def _is_sorted(values: list[Any]) -> bool:
    return all(a <= b for a, b in pairwise(values))


def _least(values: list[Any]) -> Any:
    if not values:
        raise ValueError("min called on empty list")
    return min(values)


def _most(values: list[Any]) -> Any:
    if not values:
        raise ValueError("max called on empty list")
    return max(values)


def _all_in(left: list[Any], right: list[Any]) -> bool:
    return all(each in left for each in right)


def _same(left: list[Any], right: list[Any]) -> bool:
    return _all_in(left, right) and _all_in(right, left)


def _meet(left: list[Any], right: list[Any]) -> bool:
    return any(each in right for each in left)


def _first_place(values: list[Any], value: Any) -> int:
    return values.index(value) if value in values else -1


def _last_place(values: list[Any], value: Any) -> int:
    return len(values) - 1 - values[::-1].index(value) if value in values else -1


def _slice(values: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise ValueError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise ValueError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(values):
        raise ValueError(f"cannot slice({start}, {end}), list is length {len(values)}")
    return values[start:end]


def _flat(values: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise ValueError("level must be non-negative")
    found: list[Any] = []
    for value in values:
        found += _flat(value, depth - 1) if isinstance(value, list) and depth else [value]
    return found


def _distinct(values: list[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value not in values[:place]]


def _host(text: str) -> str:
    return urlsplit(text).netloc.rpartition("@")[2]


S, L, D = "STRING", "LIST", "DYN"
PLAIN: Final = ("INT", "STRING", "DOUBLE", "BOOL")
GLOBAL: Final[tuple[tuple[str, tuple[str, ...], str, Callable[..., Any]], ...]] = (
    ("isURL", (S,), "BOOL", _is(_url)),
    ("url", (S,), S, _url),
    ("isIP", (S,), "BOOL", _is(_ip)),
    ("ip", (S,), S, _ip),
    ("jsonpatch.escapeKey", (S,), S, lambda text: text.replace("~", "~0").replace("/", "~1")),
    ("ip.isCanonical", (S,), "BOOL", lambda text: _ip(text) == text),
    ("isCIDR", (S,), "BOOL", _is(_cidr)),
    ("cidr", (S,), S, _cidr),
    ("isQuantity", (S,), "BOOL", _is(_number)),
    ("quantity", (S,), S, lambda text: _plain(_number(text))),
    ("lists.range", ("INT",), D, lambda end: list(range(end))),
    ("sets.contains", (L, L), "BOOL", _all_in),
    ("sets.equivalent", (L, L), "BOOL", _same),
    ("sets.intersects", (L, L), "BOOL", _meet),
)
MEMBERS: Final[tuple[tuple[str, tuple[str, ...], str, Callable[..., Any]], ...]] = (
    ("getScheme", (S,), S, lambda text: urlsplit(text).scheme),
    ("getHost", (S,), S, _host),
    ("getHostname", (S,), S, lambda text: urlsplit(text).hostname or ""),
    ("getPort", (S,), S, lambda text: str(urlsplit(text).port or "")),
    ("getEscapedPath", (S,), S, lambda text: urlsplit(text).path),
    ("getQuery", (S,), D, lambda text: parse_qs(urlsplit(text).query, keep_blank_values=True)),
    ("family", (S,), "INT", lambda text: _address(text).version),
    ("isUnspecified", (S,), "BOOL", lambda text: _address(text).is_unspecified),
    ("isLoopback", (S,), "BOOL", lambda text: _address(text).is_loopback),
    (
        "isLinkLocalMulticast",
        (S,),
        "BOOL",
        lambda text: _contains("ff02::/16" if ":" in text else "224.0.0.0/24", text),
    ),
    ("isLinkLocalUnicast", (S,), "BOOL", lambda text: _address(text).is_link_local),
    ("isGlobalUnicast", (S,), "BOOL", lambda text: _is_global(_address(text))),
    ("containsIP", (S, S), "BOOL", _contains),
    ("containsCIDR", (S, S), "BOOL", _contains_network),
    ("ip", (S,), S, lambda text: str(_address(text.partition("/")[0]))),
    ("masked", (S,), S, _masked),
    ("prefixLength", (S,), "INT", lambda text: _network(text).prefixlen),
    ("isInteger", (S,), "BOOL", _is(_integer)),
    ("asInteger", (S,), "INT", _integer),
    ("asApproximateFloat", (S,), "DOUBLE", lambda text: float(_number(text))),
    ("sign", (S,), "INT", lambda text: _compare(text, "0")),
    ("add", (S, S), S, lambda a, b: _plain(_number(a) + _number(b))),
    ("sub", (S, S), S, lambda a, b: _plain(_number(a) - _number(b))),
    ("isGreaterThan", (S, S), "BOOL", lambda a, b: _compare(a, b) > 0),
    ("isLessThan", (S, S), "BOOL", lambda a, b: _compare(a, b) < 0),
    ("compareTo", (S, S), "INT", _compare),
    ("find", (S, S), S, _find),
    ("findAll", (S, S), D, _find_all),
    ("findAll", (S, S, "INT"), D, _find_all),
    ("slice", (L, "INT", "INT"), D, _slice),
    ("flatten", (L,), D, _flat),
    ("flatten", (L, "INT"), D, _flat),
    ("distinct", (L,), D, _distinct),
    ("sort", (L,), D, sorted),
    ("isSorted", (L,), "BOOL", _is_sorted),
    *(("listIndexOf", (L, kind), "INT", _first_place) for kind in PLAIN),
    *(("listLastIndexOf", (L, kind), "INT", _last_place) for kind in PLAIN),
    ("sum", (L,), D, sum),
    ("min", (L,), D, _least),
    ("max", (L,), D, _most),
)


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    no = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not no and str(address) != "255.255.255.255"


TABLES: Final = (
    (False, GLOBAL),
    (False, cel_formats.GLOBAL),
    (True, MEMBERS),
    (True, cel_formats.MEMBERS),
    (True, cel_authorizer.MEMBERS),
)


def declarations(cel: Any) -> list[Any]:
    """The functions, as the library wants them: each name once."""
    overloads: dict[str, list[Any]] = {}
    types = {"LIST": cel.Type.List(cel.Type.DYN)}
    for member, table in TABLES:
        for name, parameters, gives, act in table:
            given = [types.get(each) or getattr(cel.Type, each) for each in parameters]
            made = cel.Overload(
                f"{'member' if member else 'global'}_{name.replace('.', '_')}_{'_'.join(parameters)}",
                getattr(cel.Type, gives),
                given,
                member,
                impl=act,
            )
            overloads.setdefault(name, []).append(made)
    return [cel.FunctionDecl(name, made) for name, made in overloads.items()]
