"""What one call of a function costs at most, beside its arguments.

Stage: none; pure.  In: a function with the sizes of what it is asked of.  Out: cost, size of what it gives.
Truth: cel-go's checker/cost.go and ext/sets.go, apiserver's pkg/cel/library/cost.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from clusterip.api.cel_sizes import Declared

MOST: Final = 2**64 - 1
Size: TypeAlias = "tuple[int, int]"
UNKNOWN: Final[Size] = (0, MOST)
TRAVERSAL, REGEX = 0.1, 0.25
ADDRESS: Final = 16
NAME_PATTERN: Final = 128
Price: TypeAlias = "tuple[int, Size | None]"


class Part(Protocol):
    """A target or argument."""

    @property
    def type(self) -> Declared: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    @property
    def size(self) -> Size | None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A call."""

    function: str
    overloads: tuple[str, ...]
    target: Part | None
    arguments: Sequence[Part]

    def size(self, index: int) -> Size:
        """An argument's; the target's for -1; what is not known may be endless."""
        part = self.target if index < 0 else self.arguments[index] if index < len(self.arguments) else None
        return (part.size if part else None) or UNKNOWN


def factor(size: int, by: float) -> int:
    return min(math.ceil(float(size) * by), MOST)


def priced(call: Asked, limit: Callable[[tuple[str, ...]], int | None]) -> Price:
    """What a call costs and how large its value is; `limit` tells what the schema allows at a path."""
    if not call.overloads:
        return 0, None
    if call.function in OF_LISTS and call.target is not None:
        return _elements(call, limit), None
    if call.function == "join" and call.target is not None:
        return _join(call, limit)
    if act := BY_FUNCTION.get(call.function):
        return act(call)
    found = [_overload(call, overload) for overload in call.overloads]
    sizes = [size for _, size in found if size is not None]
    return max(price for price, _ in found), _union(sizes) if sizes else None


def _union(sizes: list[Size]) -> Size:
    return min(least for least, _ in sizes), max(most for _, most in sizes)


def _overload(call: Asked, overload: str) -> Price:
    act = BY_OVERLOAD.get(overload)
    return act(call) if act else (1, None)


def _elements(call: Asked, limit: Callable[[tuple[str, ...]], int | None]) -> int:
    """isSorted and its like: every element is looked at, texts letter by letter."""
    assert call.target is not None
    count, item = call.size(-1)[1], call.target.type.item
    if item is None:
        return factor(count, TRAVERSAL)
    if item.kind not in ("string", "bytes"):
        return count
    return min(count * (1 + factor(_item_size(call.target, limit)[1], TRAVERSAL)), MOST)


def _item_size(part: Part, limit: Callable[[tuple[str, ...]], int | None]) -> Size:
    most = limit((*part.path, "@items")) if part.path else None
    return UNKNOWN if most is None else (0, most)


def _join(call: Asked, limit: Callable[[tuple[str, ...]], int | None]) -> Price:
    assert call.target is not None
    most = call.size(-1)[1]
    size = 0
    if call.target.type.item is not None:
        size = most * _item_size(call.target, limit)[1]
    if call.arguments:
        size += max(most - 1, 0) * call.size(0)[1]
    size = min(size, MOST)
    return factor(size, TRAVERSAL), (0, size)


def _replace(call: Asked) -> Price:
    whole, old, new = call.size(-1), call.size(0), call.size(1)
    most = _replaced(whole[1], old[0], new[1], keeps=new[1] <= old[0])
    least = _replaced(whole[0], old[1], new[0], keeps=old[1] <= new[0])
    return factor(whole[1], 2 * TRAVERSAL), (min(least, MOST), min(most, MOST))


def _replaced(whole: int, old: int, new: int, *, keeps: bool) -> int:
    """A text's length after parts of it were replaced; an empty part is found around every letter."""
    if old == 0:
        return whole + (whole + 1) * new
    return whole if keeps else math.ceil(whole / old) * new


def _equals(call: Asked) -> Price:
    left, right = call.arguments[0].type.kind, call.arguments[1].type.kind
    if left == right and left in OPAQUE:
        return 1, None
    if left == right == "url":
        return factor(call.size(1)[1], TRAVERSAL), None
    return _compared(call)


def _compared(call: Asked) -> Price:
    return factor(min(call.size(0)[1], call.size(1)[1]), TRAVERSAL), None


def _matched(call: Asked) -> int:
    pattern = factor(call.size(0)[1], REGEX)
    return min(factor(min(call.size(-1)[1] + 1, MOST), TRAVERSAL) * pattern, MOST)


def _contains(call: Asked) -> Price:
    return min(factor(call.size(-1)[1], TRAVERSAL) * factor(call.size(0)[1], TRAVERSAL), MOST), None


def _added(call: Asked) -> Price:
    (least, most), (other_least, other_most) = call.size(0), call.size(1)
    size = min(least + other_least, MOST), min(most + other_most, MOST)
    return (1 if call.overloads == ("add_list",) else factor(size[1], TRAVERSAL)), size


def _sets(times: int) -> Callable[[Asked], Price]:
    return lambda call: (min(call.size(0)[1] * call.size(1)[1] * times + 1, MOST), None)


def _split(call: Asked) -> Price:
    most = call.size(-1)[1]
    return factor(most, 2 * TRAVERSAL), (0, most)


def _walk(index: int, times: int = 1, *, keeps: bool = False) -> Callable[[Asked], Price]:
    """Goes through a text; the value is as large as the text where it `keeps`."""

    def price(call: Asked) -> Price:
        return factor(call.size(index)[1], times * TRAVERSAL), call.size(index) if keeps else None

    return price


def _network(extra: int) -> Callable[[Asked], Price]:
    """Two addresses are compared; a text is read first."""

    def price(call: Asked) -> Price:
        text = factor(call.size(0)[1], TRAVERSAL) if call.arguments[0].type.kind in ("string", "dyn") else 0
        return factor(2 * ADDRESS, TRAVERSAL) + extra + text, None

    return price


def _ip(call: Asked) -> Price:
    return (1, None) if call.target is not None else _walk(0)(call)


def _format(call: Asked) -> Price:
    return factor(factor(call.size(0)[1], TRAVERSAL), NAME_PATTERN * REGEX), None


def _one(call: Asked) -> Price:
    return 1, None


def _choice(call: Asked) -> Price:
    return 0, _union([call.size(1), call.size(2)])


def _found(call: Asked) -> Price:
    return _matched(call), (0, call.size(-1)[1])


def _bytes_of_text(call: Asked) -> Price:
    least, most = call.size(0)
    return factor(most, TRAVERSAL), (least, min(most * 4, MOST))


def _text_of_bytes(call: Asked) -> Price:
    least, most = call.size(0)
    return factor(most, TRAVERSAL), (least // 4, most)


def _quoted(call: Asked) -> Price:
    least, most = call.size(0)
    return factor(most, TRAVERSAL), (least + 2, min(most * 2 + 2, MOST))


OPAQUE: Final = frozenset({"ip", "cidr", "quantity"})
OF_LISTS: Final = frozenset({"isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"})
BY_FUNCTION: Final[dict[str, Callable[[Asked], Price]]] = {
    **dict.fromkeys(("url", "jsonpatch.escapeKey"), _walk(0, keeps=True)),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _walk(-1, keeps=True)),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _walk(0)),
    **dict.fromkeys(("find", "findAll"), _found),
    **dict.fromkeys(("sets.contains", "sets.intersects"), _sets(1)),
    **dict.fromkeys(("add", "sub", "sign", "masked", "prefixLength", "family"), _one),
    "formatFaults": _format,
    "optional.ofNonZeroValue": lambda call: (0, call.size(0)),
    "sets.equivalent": _sets(2),
    "replace": _replace,
    "split": _split,
    "ip": _ip,
    "ip.isCanonical": _walk(0, 2),
    "containsIP": _network(0),
    "containsCIDR": _network(factor(ADDRESS, TRAVERSAL) + 1),
    "_==_": _equals,
    "_!=_": _compared,
    "_?_:_": _choice,
    **dict.fromkeys(("_&&_", "_||_"), lambda call: (0, None)),
}
BY_OVERLOAD: Final[dict[str, Callable[[Asked], Price]]] = {
    **dict.fromkeys(("starts_with_string", "ends_with_string"), _walk(0)),
    **dict.fromkeys(("add_string", "add_bytes", "add_list"), _added),
    **{
        f"{word}_{kind}": _compared
        for word in ("less", "less_equals", "greater", "greater_equals")
        for kind in ("string", "bytes")
    },
    "string_to_bytes": _bytes_of_text,
    "bytes_to_string": _text_of_bytes,
    "strings_quote": _quoted,
    "string_format": _walk(-1),
    "matches_string": lambda call: (_matched(call), None),
    "contains_string": _contains,
    "in_list": lambda call: (call.size(1)[1], None),
}
