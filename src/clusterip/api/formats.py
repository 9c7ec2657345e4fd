"""Formats that a schema may ask of texts and numbers.

Stage: none; pure.  In: values.  Out: whether they have the format.
Rules: a hyphen in a format's name does not count; a format that is not known is not asked.
Limits: of mail addresses and URIs the usual forms are judged.
Truth: apiextensions-apiserver's pkg/apiserver/validation/formats.go; kube-openapi's pkg/validation/strfmt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network
from typing import Final

from clusterip.api import names

Check = Callable[[str], bool]

_V4 = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_GO_DURATION = r"[-+]?((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|[-+]?0"
_DURATION = r"\d+\s*(ns|nano\w*|us|µs|micro\w*|ms|milli\w*|s|sec\w*|m|min\w*|h|hr\w*|hour\w*|d|day\w*|w|wk|week\w*)"
_UUID = r"[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{}-?{}[0-9a-f]{{3}}-?[0-9a-f]{{12}}"
_LETTER = r"(?:[^\W_]|[$+<=>^`|~])"
_HOSTNAME = rf"{_LETTER}(-?{_LETTER}{{0,62}})?|({_LETTER}((?:{_LETTER}|-){{0,61}}{_LETTER})?\.)+[^\W\d_]{{2,63}}"
_CARD = (
    r"4\d{12}(\d{3})?|5[1-5]\d{14}|6(011|5\d\d)\d{12}|3[47]\d{13}|3(0[0-5]|[68]\d)\d{11}|(2131|1800|35\d{3})\d{11}"
    r"|(222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|6[27]\d{14}"
)
_BYTE = r"(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])"
_RANGES: Final = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_FLOAT_MAX: Final = 3.4028234663852886e38


def _whole(pattern: str, flags: int = re.IGNORECASE) -> Check:
    made = re.compile(pattern, flags)
    return lambda text: made.fullmatch(text) is not None


def _uuid(version: str, variant: str = "") -> Check:
    return _whole(_UUID.format(f"{version}[0-9a-f]{{{3 if version else 4}}}", variant or "[0-9a-f]"))


def _is_v4(text: str) -> bool:
    """Zeros in front are no octal numbers here."""
    found = _V4.fullmatch(text)
    return found is not None and all(int(part) < 256 for part in found.groups())


def _is_v6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _is_cidr(text: str) -> bool:
    address, slash, _ = text.partition("/")
    if not slash or not (_is_v4(address) or _is_v6(address)):
        return False
    try:
        plain = ".".join(str(int(part)) for part in address.split(".")) if _is_v4(address) else address
        ip_network(plain + text[len(address) :], strict=False)
    except ValueError:
        return False
    return True


def _is_mac(text: str) -> bool:
    sizes = (6, 8, 20)
    pairs = any(
        re.fullmatch(rf"([0-9A-Fa-f]{{2}}([:-]))([0-9A-Fa-f]{{2}}\2){{{n - 2}}}[0-9A-Fa-f]{{2}}", text) for n in sizes
    )
    return pairs or any(re.fullmatch(rf"([0-9A-Fa-f]{{4}}\.){{{n // 2 - 1}}}[0-9A-Fa-f]{{4}}", text) for n in sizes)


def _is_hostname(text: str) -> bool:
    return bool(re.fullmatch(_HOSTNAME, text)) and len(text) <= 255 and all(len(part) <= 63 for part in text.split("."))


def _is_isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"\d{9}[\dX]", digits):
        return False
    values = [10 if digit == "X" else int(digit) for digit in digits]
    return sum(index * value for index, value in enumerate(values, 1)) % 11 == 0


def _is_isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    return bool(re.fullmatch(r"\d{13}", digits)) and _weighted(digits) % 10 == 0


def _weighted(digits: str) -> int:
    return sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(digits))


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    doubled = [int(digit) * (2 if index % 2 else 1) for index, digit in enumerate(reversed(digits))]
    return bool(re.fullmatch(_CARD, digits)) and sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def _is_duration(text: str) -> bool:
    return bool(re.fullmatch(_GO_DURATION, text)) or any(
        re.fullmatch(_DURATION, found[0], re.IGNORECASE) for found in re.finditer(r"\d+\s*[A-Za-zµ]+", text)
    )


_MOMENT: Final = _whole(_DATE + r"[Tt ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)")
FORMATS: Final[dict[str, Check]] = {
    "bsonobjectid": _whole(r"[0-9a-f]{24}"),
    "uri": _whole(r"[A-Za-z][A-Za-z0-9+.-]*:\S+|/\S*"),
    "email": _whole(r"([^<>@]*<)?[^@\s<>]+@[^@\s<>]+>?"),
    "hostname": _is_hostname,
    "ipv4": lambda text: _is_v4(text) or ("." in text and _is_v6(text)),
    "ipv6": _is_v6,
    "cidr": _is_cidr,
    "mac": _is_mac,
    "uuid": _uuid(""),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4", "[89ab]"),
    "uuid5": _uuid("5", "[89ab]"),
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "creditcard": _is_card,
    "ssn": _whole(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _whole(r"#?([0-9a-f]{3}|[0-9a-f]{6})"),
    "rgbcolor": _whole(rf"rgb\(\s*{_BYTE}\s*,\s*{_BYTE}\s*,\s*{_BYTE}\s*\)"),
    "byte": _whole(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"),
    "password": lambda text: True,
    "date": _whole(_DATE),
    "duration": _is_duration,
    "datetime": _MOMENT,
    "k8sshortname": lambda text: not names.label(text),
    "k8slongname": lambda text: not names.subdomain(text),
}
NUMBERS: Final = {"integer": ("int32", "int64"), "number": ("float", "double")}
"""Formats of the types that are no texts."""


def is_known(name: str, kind: str) -> bool:
    """Whether a format of a type is one that is asked."""
    if kind in NUMBERS:
        return name in NUMBERS[kind]
    return name.replace("-", "") in FORMATS


def fits(text: str, name: str) -> bool:
    """Whether a text has a format."""
    check = FORMATS.get(name.replace("-", ""))
    return check is None or check(text)


def number_fits(value: float, kind: str, name: str) -> bool:
    """Whether a number is one of the type that the schema says, and within the format."""
    if kind == "integer":
        low, high = _RANGES.get(name, _RANGES["int64"])
        return float(value).is_integer() and low <= value <= high
    return name != "float" or abs(value) <= _FLOAT_MAX
