"""Strategic merge patch: a merge that knows the lists of a kind.

Stage: none; pure.  In: a tree, a patch, the kind's definition.  Out: a new tree; ApiError in upstream's words.
Rules: neither the tree nor the patch is changed; what a list's items are known by comes from the schema alone.
Directives: $patch (replace, delete, merge), $retainKeys, $deleteFromPrimitiveList/X, $setElementOrder/X.
Truth: apimachinery's util/strategicpatch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, copied
from clusterip.api.schema import Definition, Node, definition

DIRECTIVE: Final = "$patch"
RETAIN_KEYS: Final = "$retainKeys"
DELETE_FROM: Final = "$deleteFromPrimitiveList"
ORDER_OF: Final = "$setElementOrder"
GO_KINDS: Final = {dict: "object", list: "array", str: "string", bool: "bool", type(None): "null"}

Place: TypeAlias = "Definition | Node | None"
"""Where in a kind a value is: a structure, a map's element, or nowhere known."""
List: TypeAlias = "list[Any]"


def strategic_merge(tree: Tree, patch: Any, schema: str | Definition) -> Tree:
    """The tree with the patch merged into it."""
    return merged(copied(tree), patch, schema)


def merged(tree: Tree, patch: Any, schema: str | Definition) -> Tree:
    """The same, where the tree is the caller's own to change."""
    if not isinstance(patch, dict):
        raise ApiError.bad_request(
            f"json: cannot unmarshal {go_kind(patch)} into Go value of type map[string]interface {{}}"
        )
    place = definition(schema) if isinstance(schema, str) else schema
    return _merge_map(tree, copied(patch), place)


def go_kind(value: Any) -> str:
    """What encoding/json calls a value."""
    return GO_KINDS.get(type(value), "number")


# --- the schema ------------------------------------------------------------------------------------------------------


def _node(place: Place, key: str) -> Node | None:
    if isinstance(place, Definition):
        return place.fields.get(key)
    return place


def _inside(node: Node | None) -> Place:
    """Where the fields of a node's value are."""
    if node is None:
        return None
    if node.type == "ref":
        return definition(node.ref)
    return node.of if node.type == "map" else None


def _strategy(node: Node | None) -> str:
    return next(iter(node.strategies - {"retainKeys"}), "") if node else ""


# --- maps ------------------------------------------------------------------------------------------------------------


def _merge_map(original: Tree, patch: Tree, place: Place) -> Tree:
    """Both are ours to change."""
    if DIRECTIVE in patch:
        return _replaced_map(patch)
    _retain_keys(original, patch)
    _apply_orders(original, patch, place)
    for key, value in patch.items():
        if key.startswith(DELETE_FROM):
            _delete_from(original, _named(key, DELETE_FROM), value)
        elif value is None:
            original.pop(key, None)
        else:
            _merge_field(original, key, value, _node(place, key))
    return original


def _replaced_map(patch: Tree) -> Tree:
    directive = patch.pop(DIRECTIVE)
    if directive == "replace":
        return patch
    if directive == "delete":
        return {}
    raise ApiError.unclassified(f"unknown patch type: {directive} in map: {go_text({**patch, DIRECTIVE: directive})}")


def _merge_field(original: Tree, key: str, value: Any, node: Node | None) -> None:
    have = original.get(key)
    if isinstance(have, dict) and isinstance(value, dict):
        replaces = _strategy(node) == "replace"
        original[key] = value if replaces else _merge_map(have, value, _inside(node))
    elif isinstance(have, list) and isinstance(value, list):
        original[key] = _merge_list(have, value, node) if _strategy(node) == "merge" else value
    else:
        _put(original, key, without_nulls(value) if isinstance(value, (dict, list)) else value)


def _put(original: Tree, key: str, value: Any) -> None:
    """Set a value that nothing is merged with; one that is itself a directive is not there."""
    kept = _without_directives(value)
    if kept is DROPPED:
        original.pop(key, None)
    else:
        original[key] = kept


DROPPED: Final = object()


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        if DIRECTIVE in value:
            return DROPPED
        kept = {key: _without_directives(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner is not DROPPED}
    if isinstance(value, list):
        return [inner for item in value if (inner := _without_directives(item)) is not DROPPED]
    return value


def without_nulls(value: Any) -> Any:
    """What a patch puts where nothing was: its nulls remove nothing. Those in lists stay."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _retain_keys(original: Tree, patch: Tree) -> None:
    """Of the fields that are there, only those named stay."""
    if RETAIN_KEYS not in patch:
        return
    kept = patch.pop(RETAIN_KEYS)
    if not isinstance(kept, list):
        raise ApiError.bad_request("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is not None and not key.startswith((DELETE_FROM, ORDER_OF)) and key not in kept:
            raise ApiError.bad_request("invalid patch format of retainKeys")
    for key in [key for key in original if key not in kept]:
        del original[key]


def _named(key: str, directive: str) -> str:
    """The field that a directive with a name is about."""
    head, slash, name = key.partition("/")
    if not slash or head != directive:
        what = "primitive list" if directive == DELETE_FROM else "setElementOrder list"
        raise ApiError.bad_request(f"invalid patch format of {what}")
    return name


def _delete_from(original: Tree, key: str, unwanted: Any) -> None:
    have = original.get(key)
    if unwanted is None:
        original.pop(key, None)
    elif isinstance(have, list) and isinstance(unwanted, list):
        original[key] = [item for item in have if item not in unwanted]


# --- lists -----------------------------------------------------------------------------------------------------------


def _merge_list(original: List, patch: List, node: Node | None) -> List:
    """Items known by the merge key are merged; others are a set. The patch's order wins where both have one."""
    if not original and not patch:
        return original
    key = node.merge_key if node else ""
    if not _are_maps(original, patch):
        merged = list(dict.fromkeys([*original, *patch]))
        return _in_order(merged, patch, original, "")
    if not key:
        name = (node.of.ref if node and node.of else "").rpartition(".")[2]
        raise ApiError.unclassified(f"cannot merge lists without merge key for {name}")
    original, patch = _special_items(original, patch, key)
    merged = _merge_items(list(original), patch, key, _inside(node.of if node else None))
    return _in_order(merged, patch, original, key)


def _are_maps(*lists: List) -> bool:
    kinds = {type(item) for items in lists for item in items}
    if list in kinds:
        raise ApiError.unprocessable()
    if dict in kinds and len(kinds) > 1:
        raise ApiError.unclassified("list element types are not identical")
    return dict in kinds


def _special_items(original: List, patch: List, key: str) -> tuple[List, List]:
    """What $patch in an item asks of the list, done; then what is left to merge."""
    plain, replaces = [], False
    for item in patch:
        directive = item.get(DIRECTIVE)
        if directive is None and DIRECTIVE not in item:
            plain.append(item)
        elif directive == "delete":
            unwanted = _key_of(item, key)
            original = [have for have in original if key not in have or have[key] != unwanted]
        elif directive == "replace":
            replaces = True
        elif directive == "merge":
            raise ApiError.unclassified("merging lists cannot yet be specified in the patch")
        else:
            raise ApiError.unclassified(f"unknown patch type: {directive} in map: {go_text(item)}")
    return (plain, []) if replaces else (original, plain)


def _key_of(item: Any, key: str) -> Any:
    if not isinstance(item, dict):
        raise ApiError.unclassified(f"expected a map[string]interface {{}}, but received a {go_kind(item)}")
    if key not in item:
        raise ApiError.unclassified(f"map: {go_text(item)} does not contain declared merge key: {key}")
    return item[key]


def _merge_items(original: List, patch: List, key: str, place: Place) -> List:
    for item in patch:
        wanted = _key_of(item, key)
        position = next((i for i, have in enumerate(original) if key in have and have[key] == wanted), -1)
        if position >= 0:
            original[position] = _merge_map(original[position], item, place)
        else:
            original.append(item)
    return original


def _in_order(merged: List, wanted: List, before: List, key: str) -> List:
    """Items of the patch in its order, the server's own in theirs, woven by where they stood before."""
    named = [item for item in merged if _index(wanted, item, key) >= 0]
    own = [item for item in merged if _index(wanted, item, key) < 0]
    named.sort(key=lambda item: _index(wanted, item, key))
    own.sort(key=lambda item: _index(before, item, key) if _index(before, item, key) >= 0 else len(before))
    return list(_woven(own, named, before, key))


def _woven(own: List, named: List, before: List, key: str) -> Iterable[Any]:
    own, named = own[::-1], named[::-1]
    while own and named:
        left, right = _index(before, own[-1], key), _index(before, named[-1], key)
        yield (own if 0 <= left < right else named).pop()
    yield from reversed(own or named)


def _index(items: List, item: Any, key: str) -> int:
    wanted = _key_of(item, key) if key else item
    for position, have in enumerate(items):
        if (have.get(key) if key else have) == wanted:
            return position
    return -1


def _apply_orders(original: Tree, patch: Tree, place: Place) -> None:
    """Merge the lists that the patch gives an order for, and bring them into it."""
    for directive in [key for key in patch if key.startswith(ORDER_OF)]:
        order = patch.pop(directive)
        name = _named(directive, ORDER_OF)
        node = _node(place, name)
        if not isinstance(order, list):
            raise ApiError.unclassified(f"expected a []interface {{}}, but received a {go_kind(order)}")
        have, change = _list_in(original, name), _list_in(patch, name)
        if node is None:
            kind = place.kind if isinstance(place, Definition) else "map"
            raise ApiError.unclassified(f'unable to find api field in struct {kind} for the json field "{name}"')
        _check_order(change or [], order, node.merge_key)
        if have is None and change is None:
            continue
        original[name] = _ordered(have, change, order, node)
        patch.pop(name, None)


def _ordered(have: List | None, change: List | None, order: List, node: Node) -> List:
    if change is None:
        merged = have or []
    elif have is None:
        merged = _without_directives(change)
    else:
        merged = _merge_list(have, change, node) if _strategy(node) == "merge" else change
    return _in_order(merged, order, have or [], node.merge_key)


def _list_in(tree: Tree, name: str) -> List | None:
    found = tree.get(name)
    if found is not None and not isinstance(found, list):
        raise ApiError.unclassified(f"expected a []interface {{}}, but received a {go_kind(found)}")
    return found


def _check_order(change: List, order: List, key: str) -> None:
    """The items that are changed come in the order that is asked for."""
    if not change or not order:
        return
    places = iter(order)
    for item in change:
        if isinstance(item, dict) and DIRECTIVE in item:
            continue
        wanted = _key_of(item, key) if key else item
        if not any((_key_of(place, key) if key else place) == wanted for place in places):
            text = f"The order in patch list:\n{go_text(change)}\n doesn't match {ORDER_OF} list:\n{go_text(order)}\n"
            raise ApiError.unclassified(text)


def go_text(value: Any) -> str:
    """Go's %v of JSON: map[a:1 b:[x y]]."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_text(inner)}' for key, inner in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_text, value))}]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
