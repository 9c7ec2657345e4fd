"""Commands that a person can copy into a shell.

Stage: plan.  In: an object, what is to change of it.  Out: one line each.  Rules: pure; JSON is quoted for sh.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from shlex import quote
from typing import Any

from clusterip.api.meta import Tree, name_of, namespace_of


def patched(kind: str, tree: Tree, spec: Mapping[str, Any], how: str = "") -> str:
    """Fields of an object's spec set anew; `how` is the sort of patch where kubectl's own choice is not meant."""
    return _patch(kind, tree, how, {"spec": spec})


def replaced(service: Tree, path: str, value: object) -> str:
    return _patch("service", service, "json", [{"op": "replace", "path": path, "value": value}])


def removed(service: Tree, path: str) -> str:
    return _patch("service", service, "json", [{"op": "remove", "path": path}])


def applied(tree: Tree, namespace: str = "") -> str:
    """An object made or changed as a whole."""
    return f"echo {quote(json.dumps(tree))} | kubectl {f'-n {namespace} ' * bool(namespace)}apply -f -"


def _patch(kind: str, tree: Tree, how: str, patch: object) -> str:
    sort = f"--type={how} " * bool(how)
    return f"kubectl -n {namespace_of(tree)} patch {kind} {name_of(tree)} {sort}-p {quote(json.dumps(patch))}"
