"""What a name, a key or an address must look like, and the words for one that does not.

Stage: none; pure checks.  In: a text.  Out: the reasons against it, none when it is right.
Rules: a reason never names the field; that is the caller's.
Truth: RFC 1035, RFC 1123, apimachinery's util/validation as recorded from 1.36 (strict addresses).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_PERCENT = "[0-9]+%"
_HEADER = "[-A-Za-z0-9]+"

_LABEL_RE = re.compile(_LABEL)
_SUBDOMAIN_RE = re.compile(_SUBDOMAIN)
_LABEL_1035_RE = re.compile(_LABEL_1035)
_QUALIFIED_RE = re.compile(_QUALIFIED)
_LABEL_VALUE_RE = re.compile(f"({_QUALIFIED})?")
_CONFIG_KEY_RE = re.compile(_CONFIG_KEY)
_PERCENT_RE = re.compile(_PERCENT)
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_WILDCARD_RE = re.compile(_WILDCARD)
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_HTTP_PATH_RE = re.compile(_HTTP_PATH)
_HEADER_RE = re.compile(_HEADER)

_EDGES = "must start and end with an alphanumeric character"
_QUALIFIED_WORDS = f"must consist of alphanumeric characters, '-', '_' or '.', and {_EDGES}"


def _pattern_reason(words: str, pattern: str, *examples: str) -> str:
    shown = "".join(f"{' or ' if i else ''}'{example}', " for i, example in enumerate(examples))
    return f"{words} ({'e.g. ' + shown if examples else ''}regex used for validation is '{pattern}')"


_LABEL_REASON = _pattern_reason(
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and {_EDGES}",
    _LABEL,
    "my-name",
    "123-abc",
)
_SUBDOMAIN_REASON = _pattern_reason(
    f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and {_EDGES}",
    _SUBDOMAIN,
    "example.com",
)
_LABEL_1035_REASON = _pattern_reason(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_QUALIFIED_REASON = _pattern_reason(_QUALIFIED_WORDS, _QUALIFIED, "MyName", "my.name", "123-abc")
_LABEL_VALUE_REASON = _pattern_reason(
    f"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and {_EDGES}",
    f"({_QUALIFIED})?",
    "MyValue",
    "my_value",
    "12345",
)
_CONFIG_KEY_REASON = _pattern_reason(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _CONFIG_KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)


_WILDCARD_REASON = _pattern_reason(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
    _WILDCARD,
    "*.example.com",
)


def longest(length: int) -> str:
    return f"must be no more than {length} characters"


def within(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def label(value: str) -> list[str]:
    """DNS-1123 label."""
    reasons = [longest(63)] if len(value) > 63 else []
    if not _LABEL_RE.fullmatch(value):
        reasons.append("must not contain dots" if _SUBDOMAIN_RE.fullmatch(value) else _LABEL_REASON)
    return reasons


def label_1035(value: str) -> list[str]:
    """DNS-1035 label: it begins with a letter."""
    reasons = [longest(63)] if len(value) > 63 else []
    return reasons if _LABEL_1035_RE.fullmatch(value) else [*reasons, _LABEL_1035_REASON]


def subdomain(value: str) -> list[str]:
    """DNS-1123 subdomain."""
    reasons = [longest(253)] if len(value) > 253 else []
    return reasons if _SUBDOMAIN_RE.fullmatch(value) else [*reasons, _SUBDOMAIN_REASON]


def wildcard_subdomain(value: str) -> list[str]:
    """A DNS-1123 subdomain behind `*.`."""
    reasons = [longest(253)] if len(value) > 253 else []
    return reasons if _WILDCARD_RE.fullmatch(value) else [*reasons, _WILDCARD_REASON]


def prefixed_path(value: str) -> list[str]:
    """A path behind a domain: `acme.io/foo`."""
    if not value:
        return ["must not be empty"]
    domain, slash, path = value.partition("/")
    if not slash or not domain or not path:
        return ['must be a domain-prefixed path (such as "acme.io/foo")']
    if reasons := subdomain(domain):
        return [f'"{domain}" is invalid: {reason}' for reason in reasons]
    if not _HTTP_PATH_RE.fullmatch(path):
        return [f"\"{path}\" is invalid: Invalid path (regex used for validation is '{_HTTP_PATH}')"]
    return []


def qualified_name(value: str) -> list[str]:
    """A label or annotation key: a name, perhaps behind a DNS subdomain and a slash."""
    return _qualified_name(value) if len(value) > LONGEST_REMEMBERED else list(_remembered_name(value))


LONGEST_REMEMBERED = 128


@lru_cache(maxsize=4096)
def _remembered_name(value: str) -> tuple[str, ...]:
    """Keys are few, and every write shows the same ones again."""
    return tuple(_qualified_name(value))


def _qualified_name(value: str) -> list[str]:
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        example = "(e.g. 'example.com/MyName')"
        return [f"a valid label key {_QUALIFIED_REASON} with an optional DNS subdomain prefix and '/' {example}"]
    reasons = []
    if slash and not prefix:
        reasons.append("prefix part must be non-empty")
    elif slash:
        too_long = ["prefix part must be no more than 253 bytes"] if len(prefix) > 253 else []
        reasons += too_long or [f"prefix part {reason}" for reason in subdomain(prefix)]
    if not name:
        reasons.append("name part must be non-empty")
    elif len(name) > 63:
        reasons.append("name part must be no more than 63 bytes")
    return reasons if _QUALIFIED_RE.fullmatch(name) else [*reasons, f"name part {_QUALIFIED_REASON}"]


def label_value(value: str) -> list[str]:
    reasons = ["must be no more than 63 bytes"] if len(value) > 63 else []
    return reasons if _LABEL_VALUE_RE.fullmatch(value) else [*reasons, _LABEL_VALUE_REASON]


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret: it becomes a file's name."""
    reasons = [longest(253)] if len(value) > 253 else []
    if not _CONFIG_KEY_RE.fullmatch(value):
        reasons.append(_CONFIG_KEY_REASON)
    return reasons + _leading_dots(value)


def _leading_dots(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def env_name(value: str) -> list[str]:
    """Since 1.34 anything printable of ASCII but an equals sign."""
    if not value:
        return ["environment variable name must be non-empty"]
    if value.isascii() and value.isprintable() and "=" not in value:
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else [within(1, 65535)]


def port_name(value: str) -> list[str]:
    """IANA service name."""
    checks = (
        (len(value) > 15, longest(15)),
        (
            not re.fullmatch("[-a-z0-9]+", value),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (not re.search("[a-z]", value), "must contain at least one letter (a-z)"),
        ("--" in value, "must not contain consecutive hyphens"),
        (value.startswith("-") or value.endswith("-"), "must not begin or end with a hyphen"),
    )
    return [reason for failed, reason in checks if failed]


def percent(value: str) -> list[str]:
    if _PERCENT_RE.fullmatch(value):
        return []
    words = "a valid percent string must be a numeric string followed by an ending '%'"
    return [_pattern_reason(words, _PERCENT, "1%", "93%")]


def http_header(value: str) -> list[str]:
    if _HEADER_RE.fullmatch(value):
        return []
    return [
        _pattern_reason("a valid HTTP header must consist of alphanumeric characters or '-'", _HEADER, "X-Header-Name")
    ]


def path_segment(value: str, prefix: bool = False) -> list[str]:
    """Whatever a kind says of its names, they must fit into a URL's path."""
    if not prefix and value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in value]


# --- rules for the names of objects ----------------------------------------------------------------------------------

NameRule = Callable[[str, bool], list[str]]


def _with_suffix_to_come(check: Callable[[str], list[str]]) -> NameRule:
    """A generateName may end in a dash: more follows."""

    def rule(name: str, prefix: bool) -> list[str]:
        return check(f"{name[:-2]}a" if prefix and len(name) > 1 and name.endswith("-") else name)

    return rule


name_is_subdomain = _with_suffix_to_come(subdomain)
name_is_label = _with_suffix_to_come(label)


# --- addresses -------------------------------------------------------------------------------------------------------

_NO_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NO_NETWORK = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4_RE = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}")
_ZERO_RE = re.compile(r"(^|[.])0\d")


def _without_leading_zeros(value: str) -> str:
    """`010.0.0.1` as the sloppy readers of old took it."""
    return re.sub(r"(^|(?<=[.]))0+(?=\d)", "", value) if re.fullmatch(r"[\d.]+", value) else value


def parse_address(value: str) -> IPv4Address | IPv6Address | None:
    """The address as the sloppy readers of old took it, or None."""
    return _remembered_address(value) if len(value) <= LONGEST_REMEMBERED else None


@lru_cache(maxsize=8192)
def _remembered_address(value: str) -> IPv4Address | IPv6Address | None:
    if plain := _IPV4_RE.fullmatch(value):  # most are, as it is written nowadays
        return IPv4Address(bytes(map(int, plain.groups())))
    if "%" in value:
        return None
    try:
        found = ip_address(_without_leading_zeros(value))
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def address(value: str) -> list[str]:
    """A valid address by the strict rules of 1.36."""
    if parse_address(value) is None:
        return [_NO_ADDRESS]
    if "0" in value and _ZERO_RE.search(value) and _without_leading_zeros(value) != value:
        return ["must not have leading 0s"]
    return ["must not be an IPv4-mapped IPv6 address"] if ":" in value and _is_mapped(value) else []


def canonical_address(value: str) -> list[str]:
    """A valid address written in the one way that there is."""
    found = parse_address(value)
    reasons = address(value)
    return reasons if reasons or str(found) == value else [f'must be in canonical form ("{found}")']


def _is_mapped(value: str) -> bool:
    found = ip_address(value)
    return isinstance(found, IPv6Address) and found.ipv4_mapped is not None


def network(value: str) -> list[str]:
    """A valid CIDR by the strict rules of 1.36: no leading zeros, no bits beyond the prefix."""
    text, slash, length = value.partition("/")
    if not slash or not re.fullmatch(r"\d+", length) or "%" in text:
        return [NO_NETWORK]
    try:
        found = ip_network(f"{_without_leading_zeros(text)}/{int(length)}", strict=False)
    except ValueError:
        return [NO_NETWORK]
    if _without_leading_zeros(text) != text or str(int(length)) != length:
        return ["must not have leading 0s in IP or prefix length"]
    if isinstance(found, IPv6Network) and _is_mapped(text):
        return ["must not have an IPv4-mapped IPv6 address"]
    return [] if found.network_address == ip_address(text) else ["must not have bits set beyond the prefix length"]


def canonical_network(value: str) -> list[str]:
    """A valid CIDR written in the one way that there is."""
    if reasons := network(value):
        return reasons
    found = str(ip_network(value))
    return [] if found == value else [f'must be in canonical form ("{found}")']


def not_for_endpoints(value: str) -> list[str]:
    """Addresses that nothing in a cluster may be reached at from elsewhere."""
    found = parse_address(value)
    if found is None:
        return []
    link_multicast = found.is_multicast and str(found).startswith(("224.0.0.", "ff02:"))
    checks = (
        (found.is_unspecified, f"may not be unspecified ({value})"),
        (found.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (found.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    )
    return [reason for failed, reason in checks if failed]
