"""What an expression may cost at most, before any object is known.

Stage: none; pure.  In: a compiled expression, the type of `self`.  Out: cost in CEL's units.
Rules: each step costs 1, a text a tenth of its length each time it is gone through, a fold its step for each element;
       what has no limit costs infinitely much (MOST).
Limits: comprehensions of two variables are not there, as elsewhere.
Truth: cel-go's checker/cost.go, apiserver's pkg/cel/library/cost.go, whose figures decide which definitions are valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from clusterip.api.cel_calls import MOST, UNKNOWN, Asked, Size, factor, priced
from clusterip.api.cel_sizes import Declared
from clusterip.api.cel_tree import Call, Checked, Const, Fold, Ident, ListOf, MapOf, Node, Select

ACCUMULATORS: Final = ("@result", "__result__")
LIST_COST, MAP_COST = 10, 30
SCALARS: Final = frozenset({"bool", "int", "uint", "double", "duration", "timestamp"})
GIVES: Final = {
    "ip": "ip",
    "cidr": "cidr",
    "masked": "cidr",
    "quantity": "quantity",
    "url": "url",
    "hasValue": "bool",
}
CASTS: Final = frozenset({"string", "bytes", "int", "double"})
WORDS: Final = {"int": "int64", "uint": "uint64"}
RENAMED: Final = {"listIndexOf": "indexOf", "listLastIndexOf": "lastIndexOf"}

Path: TypeAlias = "tuple[str, ...]"
Entry: TypeAlias = "tuple[str, Size, Size]"
"""Of a list or map that an expression made: which it is, how large keys and values are."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a node."""

    cost: int
    type: Declared
    path: Path = ()
    size: Size | None = None
    entry: Entry | None = None


Scope: TypeAlias = "Mapping[str, Found]"


def cost(expression: Checked, root: Declared, *, has_optional_old: bool = False) -> int:
    """The most that an expression over `self` and `oldSelf` costs."""
    node, old = expression.node, root
    if has_optional_old and isinstance(node, Fold):
        node, old = node.result, Declared("optional", item=root)  # without what makes oldSelf optional
    scope = {"self": Found(1, root, ("self",)), "oldSelf": Found(1, old, ("oldSelf",))}
    return _Coster(expression, root).found(node, scope).cost


class _Coster:
    """Goes through one expression."""

    def __init__(self, expression: Checked, root: Declared) -> None:
        self._expression = expression
        self._root = root

    def found(self, node: Node, scope: Scope) -> Found:
        """A node's cost, type and size."""
        if isinstance(node, Const):
            return Found(0, self._type(node), size=_fixed(_length(node.value)))
        if isinstance(node, Ident):
            return self._ident(node, scope)
        if isinstance(node, Select):
            return self._select(node, scope)
        if isinstance(node, Call):
            return self._call(node, scope)
        if isinstance(node, ListOf):
            return self._list(node, scope)
        if isinstance(node, MapOf):
            return self._map(node, scope)
        return self._bind(node, scope) if _is_bind(node) else self._fold(node, scope)

    def _type(self, node: Node) -> Declared:
        """What the compiler says of a node that the schema says nothing about."""
        words = self._expression.types.get(node.id, "dyn").split("/")
        made: Declared | None = None
        for word in reversed(words):
            made = Declared(word, item=made)
        assert made is not None
        return made

    def _sized(self, found: Found) -> Found:
        """With the size that the schema or the type tells."""
        if found.size is not None:
            return found
        most = _at(self._root, found.path)
        if most is not None:
            return replace(found, size=(0, most))
        kind = found.type.item if found.type.kind == "optional" and found.type.item else found.type
        return replace(found, size=(1, 1)) if kind.kind in SCALARS else found

    def _ident(self, node: Ident, scope: Scope) -> Found:
        local = scope.get(node.name)
        if local is None:
            return self._sized(Found(1, self._type(node), (node.name,)))
        path = () if local.path and local.path[0] in ACCUMULATORS else local.path
        known = self._sized(Found(1, local.type, path, None, local.entry))
        return replace(known, size=known.size or local.size)

    def _select(self, node: Select, scope: Scope) -> Found:
        operand = self.found(node.operand, scope)
        if node.is_test:
            return Found(operand.cost, Declared("bool"), size=(1, 1))
        kind = operand.type.kind
        below = (
            operand.type.fields.get(node.field) if kind == "object" else operand.type.item if kind == "map" else None
        )
        step = kind in ("map", "object")
        return self._sized(Found(operand.cost + step, below or self._type(node), (*operand.path, node.field)))

    def _list(self, node: ListOf, scope: Scope) -> Found:
        items = [self.found(item, scope) for item in node.items]
        kind = self._type(node)
        if items and kind.kind == "list":
            kind = replace(kind, item=items[0].type)
        entry = ("list", _fixed(1), _widest([item.size or UNKNOWN for item in items]))
        return Found(LIST_COST + sum(item.cost for item in items), kind, size=_fixed(len(items)), entry=entry)

    def _map(self, node: MapOf, scope: Scope) -> Found:
        keys = [self.found(key, scope) for key, _ in node.entries]
        values = [self.found(value, scope) for _, value in node.entries]
        sizes = [_widest([each.size or UNKNOWN for each in side]) for side in (keys, values)]
        total = MAP_COST + sum(each.cost for each in (*keys, *values))
        return Found(total, self._type(node), size=_fixed(len(keys)), entry=("map", sizes[0], sizes[1]))

    def _bind(self, node: Fold, scope: Scope) -> Found:
        first = self.found(node.first, scope)
        result = self.found(node.result, {**scope, node.name: first})
        return replace(result, cost=LIST_COST + first.cost + result.cost, path=())

    def _fold(self, node: Fold, scope: Scope) -> Found:
        over, first = self.found(node.over, scope), self.found(node.first, scope)
        inner = {**scope, node.name: first, node.variable: _element(over)}
        condition, step = self.found(node.condition, inner), self.found(node.step, inner)
        built = replace(first, type=step.type) if step.type.kind == "list" else first
        result = self.found(node.result, {**scope, node.name: built})
        count = over.size or UNKNOWN
        total = over.cost + first.cost + result.cost + factor(count[1], 1) * (condition.cost + step.cost)
        if isinstance(node.first, Const):
            return Found(min(total, MOST), result.type, size=first.size)
        return Found(min(total, MOST), result.type, size=count, entry=step.entry)

    def _call(self, node: Call, scope: Scope) -> Found:
        arguments = [self.found(each, scope) for each in node.arguments]
        if node.function == "dyn":
            return replace(arguments[0], cost=arguments[0].cost + 1, type=Declared("dyn"), path=())
        if node.function in ("timestamp", "duration") and arguments and arguments[0].type.kind == node.function:
            return arguments[0]  # a field that is read as the time that it says
        target = self.found(node.target, scope) if node.target else None
        function = RENAMED.get(node.function, node.function)
        overloads = _narrowed(function, self._expression.overloads.get(node.id, ()), arguments)
        asked = Asked(function, overloads, target, arguments)
        price, size = priced(asked, lambda path: _at(self._root, path))
        spent = _spent(function, arguments) + (target.cost if target else 0)
        kind, path, entry = self._result(node, function, overloads, target, arguments)
        if overloads and overloads[-1] in ("index_list", "index_map"):
            size = arguments[0].entry[2] if arguments[0].entry else None
        return self._sized(Found(min(price + spent, MOST), kind, path, size, entry))

    def _result(
        self, node: Call, function: str, overloads: tuple[str, ...], target: Found | None, arguments: list[Found]
    ) -> tuple[Declared, Path, Entry | None]:
        """The type of what a call gives, where it lies, and of what it consists."""
        kind = self._type(node)
        if function == "_[_]":
            whole = arguments[0]
            if whole.type.item is None:
                return kind, (), None
            return whole.type.item, (*whole.path, "@items" if whole.type.kind == "list" else "@values"), None
        if function == "_?_:_":
            return _known(arguments[1:], kind), (), _both(arguments[1:])
        if function == "_+_":
            return _known(arguments, kind), (), _both(arguments)
        if function in ("_?._", "_[?_]"):
            return Declared("optional", item=self._optional(node, arguments[0].type)), (), None
        if function in ("value", "orValue", "min", "max", "sum", "or") and target and target.type.item:
            return target.type if function == "or" else target.type.item, (), None
        if function in ("add", "sub") and target:
            return target.type, (), None
        return Declared(GIVES[function]) if function in GIVES else kind, (), None

    def _optional(self, node: Call, whole: Declared) -> Declared:
        inner = whole.item if whole.kind == "optional" and whole.item else whole
        name = node.arguments[1]
        if inner.kind == "object" and isinstance(name, Const) and isinstance(name.value, str):
            return inner.fields.get(name.value, Declared("dyn"))
        return inner.item or Declared("dyn")


def _spent(function: str, arguments: list[Found]) -> int:
    """What the arguments cost; of a choice only the dearer side."""
    if function == "_?_:_":
        return arguments[0].cost + max(arguments[1].cost, arguments[2].cost)
    return sum(each.cost for each in arguments)


def _element(over: Found) -> Found:
    """A fold's variable: an item of a list, a key of a map."""
    container = over.entry[0] if over.entry else over.type.kind
    if container == "list":
        item = over.type.item or Declared("dyn")
        return Found(1, item, (*over.path, "@items"), over.entry[2] if over.entry else None)
    key = Declared("string") if container == "map" else Declared("dyn")
    return Found(1, key, (*over.path, "@keys"), over.entry[1] if over.entry else None)


def _at(root: Declared, path: Path) -> int | None:
    """The most that there is at a path."""
    if not path:
        return None
    at: Declared | None = root
    for name in path[1:]:
        if at is None:
            return None
        if name == "@keys":
            at = Declared("string") if at.kind == "map" else None
        else:
            at = at.item if name in ("@items", "@values") else at.fields.get(name)
    return None if at is None else at.most


def _narrowed(function: str, overloads: tuple[str, ...], arguments: list[Found]) -> tuple[str, ...]:
    """The overloads that the schema's types leave, which the compiler does not know."""
    kinds = [each.type.kind for each in arguments if each.type.kind not in ("dyn", "object")]
    if len(overloads) < 2 or not kinds:
        return overloads
    word = WORDS.get(kinds[-1 if function == "@in" else 0], kinds[-1 if function == "@in" else 0])
    fits = str.startswith if function in CASTS else str.endswith
    return tuple(each for each in overloads if fits(each, word)) or overloads


def _known(sides: list[Found], otherwise: Declared) -> Declared:
    """The type that is known best."""
    for side in sides:
        if side.type.kind != "dyn" and (side.type.kind != "list" or side.type.item not in (None, Declared("dyn"))):
            return side.type
    return sides[0].type if sides and sides[0].type.kind != "dyn" else otherwise


def _both(sides: list[Found]) -> Entry | None:
    left, right = (side.entry for side in sides)
    if left is None or right is None:
        return None
    return left[0], _widest([left[1], right[1]]), _widest([left[2], right[2]])


def _is_bind(node: Fold) -> bool:
    never = isinstance(node.condition, Const) and not node.condition.value
    return isinstance(node.over, ListOf) and not node.over.items and never and node.name not in ACCUMULATORS


def _widest(sizes: list[Size]) -> Size:
    return (min(least for least, _ in sizes), max(most for _, most in sizes)) if sizes else (0, 0)


def _fixed(size: int) -> Size:
    return size, size


def _length(value: object) -> int:
    return len(value) if isinstance(value, (str, bytes)) else 1
