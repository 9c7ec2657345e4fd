"""Compiled expressions, read."""

from __future__ import annotations

from clusterip.api import cel
from clusterip.api.cel_tree import Call, Checked, Const, Fold, Ident, ListOf, MapOf, Select


def read(text: str) -> Checked:
    return cel.compiled(text, (("self", "DYN"),), "DYN").checked()


def test_nodes() -> None:
    found = read("has(self.a) ? dyn([self.b, 'x']) : dyn({'k': 2})")
    choice = found.node
    assert isinstance(choice, Call)
    assert choice.function == "_?_:_"
    test, *sides = choice.arguments
    items, entries = (side.arguments[0] for side in sides if isinstance(side, Call))
    assert isinstance(test, Select)
    assert (test.field, test.is_test) == ("a", True)
    assert isinstance(test.operand, Ident)
    assert isinstance(items, ListOf)
    assert [type(each) for each in items.items] == [Select, Const]
    assert isinstance(entries, MapOf)
    key, value = entries.entries[0]
    assert isinstance(key, Const)
    assert isinstance(value, Const)
    assert (key.value, value.value) == ("k", 2)


def test_folds_overloads_and_types() -> None:
    found = read("self.all(x, x.startsWith('a'))")
    fold = found.node
    assert isinstance(fold, Fold)
    assert (fold.variable, fold.name) == ("x", "@result")
    assert ("starts_with_string",) in found.overloads.values()
    assert found.types[fold.id] == "bool"
    assert read("['a']").types[read("['a']").node.id] == "list/string"
    assert read("optional.of(1)").types[read("optional.of(1)").node.id] == "optional/int"
