"""Patches: JSON Patch, JSON Merge Patch, and the door to strategic merge patch.

Stage: none; pure.  In: a tree and a patch, both JSON.  Out: a new tree; ApiError in upstream's words.
Rules: neither the tree nor the patch is changed, and the new tree shares nothing with them; where the caller asks for
       it, it shares with the old tree the fields that the patch does not speak of, and the list of managedFields.
Truth: RFC 6902 and RFC 7386 as kube-apiserver implements them: a patch that cannot be applied is a 422 and no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, Final

import orjson

from clusterip.api.errors import ApiError, invalid
from clusterip.api.meta import Tree, copied
from clusterip.api.schema import Definition
from clusterip.api.strategic import go_kind, go_text, merged, without_nulls

MOST_OPERATIONS: Final = 10_000
MOST_COPIED_BYTES: Final = 3 * 1024 * 1024  # a small patch must not make a huge object


def unshared(tree: Tree, touched: Collection[str] | None) -> Tree:
    """A tree of which the named fields are the caller's own to change, and its metadata but the managedFields.

    None: everything.
    """
    if touched is None:
        return copied(tree)  # type: ignore[no-any-return]
    out = {key: copied(value) if key in touched else value for key, value in tree.items() if key != "metadata"}
    metadata = dict(tree.get("metadata") or {})
    managed = metadata.pop("managedFields", None)
    out["metadata"] = copied(metadata)
    if managed is not None:
        out["metadata"]["managedFields"] = managed
    return out


def strategic_merge(tree: Tree, patch: Any, schema: str | Definition, *, shares: bool = False) -> Tree:
    """The tree with the patch merged into it, as the kind's lists are merged."""
    directed = not isinstance(patch, dict) or any(key.startswith("$") for key in patch)
    return merged(unshared(tree, None if directed or not shares else patch), patch, schema)


# --- RFC 7386 --------------------------------------------------------------------------------------------------------


def merge_patch(tree: Tree, patch: Any, *, shares: bool = False) -> Tree:
    """The tree with the patch merged into it: null removes, lists are replaced."""
    if patch is None:
        raise ApiError.bad_request("Invalid JSON Patch")
    if not isinstance(patch, dict):
        why = f"json: cannot unmarshal {go_kind(patch)} into Go value of type map[string]interface {{}}"
        raise ApiError.bad_request(f"error decoding patch: {why}")
    return _merged(unshared(tree, patch if shares else None), patch)


def _merged(tree: Tree, patch: Tree) -> Tree:
    """The tree is ours to change, the patch is not."""
    for key, value in patch.items():
        have = tree.get(key)
        if value is None:
            tree.pop(key, None)
        elif isinstance(have, dict) and isinstance(value, dict):
            _merged(have, value)
        else:
            tree[key] = without_nulls(value)
    return tree


# --- RFC 6902 --------------------------------------------------------------------------------------------------------


class _CannotApply(Exception):
    """An operation that fails; which one is never told."""


def json_patch(tree: Tree, operations: Any, *, shares: bool = False) -> Tree:
    """The tree after all operations; if one fails, none was made."""
    checked = _checked(operations)
    found: Any = unshared(tree, _touched(checked) if shares else None)
    for operation in checked:
        try:
            found = _apply(found, operation)
        except _CannotApply:
            raise ApiError.unprocessable() from None
    if not isinstance(found, dict):
        raise ApiError.unprocessable()
    return found


def _checked(operations: Any) -> list[Tree]:
    if operations is None:
        return []
    if not isinstance(operations, list):
        raise _undecodable(f"{go_kind(operations)} into Go value of type []handlers.jsonPatchOp")
    for operation in operations:
        if not isinstance(operation, dict):
            raise _undecodable(f"{go_kind(operation)} into Go value of type handlers.jsonPatchOp")
        for key in ("op", "path", "from"):
            if not isinstance(operation.get(key, ""), str):
                raise _undecodable(f"{go_kind(operation[key])} into Go struct field jsonPatchOp.{key} of type string")
    if len(operations) > MOST_OPERATIONS:
        text = f"The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {text}")
    return operations


def _touched(operations: list[Tree]) -> set[str] | None:
    """The fields of an object that operations speak of; None: any."""
    touched = set()
    for operation in operations:
        for path in (operation.get("path"), operation.get("from")):
            names = (path or "/-").split("/")[1:]
            if not names or path == "" or (names[0] == "metadata" and (len(names) < 2 or names[1] == "managedFields")):
                return None
            touched.add(_unescaped(names[0]))
    return touched


def _undecodable(what: str) -> ApiError:
    return ApiError.bad_request(f"error decoding patch: json: cannot unmarshal {what}")


def _apply(tree: Any, operation: Tree) -> Any:
    act = OPERATIONS.get(operation.get("op", ""))
    if act is None:
        raise _CannotApply
    return act(tree, operation)


def _path(operation: Tree, key: str = "path") -> str:
    found = operation.get(key)
    if found is None:
        raise _CannotApply
    return str(found)


def _place(tree: Any, path: str) -> tuple[Any, str]:
    """The container that a path ends in, and the last name; what is before the first slash is not looked at."""
    names = path.split("/")[1:]
    if not names:
        raise _CannotApply
    for name in names[:-1]:
        tree = _get(tree, _unescaped(name))
    if not isinstance(tree, (dict, list)):
        raise _CannotApply
    return tree, _unescaped(names[-1])


def _unescaped(name: str) -> str:
    return name.replace("~1", "/").replace("~0", "~")


INDEX: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)


def _index(name: str, length: int) -> int:
    """A position among so many; negative ones count from the end, as upstream allows."""
    position = int(name) if INDEX.fullmatch(name) and len(name) < 19 else length
    if not -length <= position < length:
        raise _CannotApply
    return position % length


def _get(container: Any, name: str) -> Any:
    """A member; one that an object lacks is null."""
    if isinstance(container, dict):
        return container.get(name)
    if isinstance(container, list):
        return container[_index(name, len(container))]
    raise _CannotApply


def _put(container: Any, name: str, value: Any) -> None:
    if isinstance(container, dict):
        container[name] = value
    elif name == "-":
        container.append(value)
    else:
        container.insert(_index(name, len(container) + 1), value)


def _add(tree: Any, operation: Tree) -> Any:
    container, name = _place(tree, _path(operation))
    _put(container, name, copied(operation.get("value")))
    return tree


def _remove(tree: Any, operation: Tree) -> Any:
    _take(*_place(tree, _path(operation)))
    return tree


def _take(container: Any, name: str) -> Any:
    if isinstance(container, list):
        return container.pop(_index(name, len(container)))
    if name not in container:
        raise _CannotApply
    return container.pop(name)


def _replace(tree: Any, operation: Tree) -> Any:
    if not _path(operation):
        return copied(operation.get("value"))
    container, name = _place(tree, _path(operation))
    if isinstance(container, list):
        container[_index(name, len(container))] = copied(operation.get("value"))
    else:
        container[name] = copied(operation.get("value"))
    return tree


def _move(tree: Any, operation: Tree) -> Any:
    value = _take(*_place(tree, _path(operation, "from")))
    _put(*_place(tree, _path(operation)), value)
    return tree


def _copy(tree: Any, operation: Tree) -> Any:
    value = copied(_get(*_place(tree, _path(operation, "from"))))
    _put(*_place(tree, _path(operation)), value)
    if isinstance(value, (dict, list)) and len(orjson.dumps(tree)) > MOST_COPIED_BYTES:
        raise _CannotApply
    return tree


def _test(tree: Any, operation: Tree) -> Any:
    path = _path(operation)
    found = _get(*_place(tree, path)) if path else tree
    if not same(found, operation.get("value")):
        raise _CannotApply
    return tree


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: true is not 1, and 1 is not 1.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


OPERATIONS: Final[dict[str, Callable[[Any, Tree], Any]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


# --- what a patch makes of an object ---------------------------------------------------------------------------------


def refused(patch: Any, patched: Tree, is_strategic: bool, why: str) -> ApiError:
    """The answer when the patched object cannot be decoded; `why` is the decoder's text."""
    text = go_text(patch) if is_strategic else orjson.dumps(patched, option=orjson.OPT_SORT_KEYS).decode()
    return ApiError.invalid("", "", "", [invalid("patch", text, why)])
