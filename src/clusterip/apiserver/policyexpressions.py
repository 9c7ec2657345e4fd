"""The expressions of one policy, asked of one request: what they may name, and each variable once.

Stage: decide; pure but for the clock of the budget.  In: a request, params, variables.  Out: values; CelError.
Rules: a variable is evaluated when an expression names it, and its failure is the expression's; when the time of the
       request is over, everything fails.
Truth: apiserver's pkg/admission/plugin/cel (compile.go, composition.go) of 1.36.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, Final

from clusterip.api.cel import CelError
from clusterip.api.cel_authorizer import AUTHORIZER, Question, request_resource
from clusterip.api.cel_policies import REQUEST_RESOURCE, compiled
from clusterip.api.errors import quoted
from clusterip.api.meta import Tree
from clusterip.apiserver.access import ACCOUNT_PREFIX, AUTHENTICATED, Ask, User
from clusterip.apiserver.core import Call, Core

_NAMED = re.compile(r"\bvariables\s*\.\s*([A-Za-z_]\w*)")
OUT_OF_BUDGET: Final = "validation failed due to running out of cost budget, no further validation rules will be run"


class Expressions:
    """What expressions see of one request."""

    def __init__(self, seen: Tree, variables: Iterable[Tree], until: float = float("inf")) -> None:
        request: Tree = seen["request"]
        plain = {
            key: value for key, value in request.items() if key not in ("object", "oldObject") and value is not None
        }
        self._values: dict[str, Any] = {
            "object": request.get("object"),
            "oldObject": request.get("oldObject"),
            "request": plain,
            "params": seen.get("params"),
            "namespaceObject": seen.get("namespaceObject"),
            "authorizer": AUTHORIZER,
            REQUEST_RESOURCE: request_resource(request),
        }
        self._texts = {each["name"]: each["expression"] for each in variables}
        self._known: dict[str, Any] = {}
        self._until = until

    def ask(self, text: str, gives: str) -> Any:
        """An expression's value."""
        if time.monotonic() > self._until:
            raise CelError(OUT_OF_BUDGET)
        needed = dict.fromkeys(name for name in _NAMED.findall(text) if name in self._texts)
        variables = {name: self._variable(name) for name in needed}
        return compiled(text, gives).ask({**self._values, "variables": variables})

    def _variable(self, name: str) -> Any:
        if name not in self._known:
            try:
                self._known[name] = self.ask(self._texts[name], "DYN")
            except CelError as error:
                self._known[name] = CelError(f"composited variable {quoted(name)} fails to evaluate: {error}")
        known = self._known[name]
        if isinstance(known, CelError):
            raise known
        return known

    def all_hold(self, conditions: Iterable[Tree]) -> bool:
        """Whether no condition says no; CelError where one fails and none says no."""
        failures = []
        for condition in conditions:
            try:
                if self.ask(condition["expression"], "BOOL") is not True:
                    return False
            except CelError as error:
                failures.append(f"expression '{condition['expression']}' resulted in error: {error}")
        if failures:
            raise CelError(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")
        return True


def decision(core: Core, call: Call, question: Question) -> tuple[bool, str]:
    """What the authorizer says to an expression's question."""
    user = call.user
    if question.get("account"):
        namespace, name = question["accountNamespace"], question["account"]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        user = User(f"{ACCOUNT_PREFIX}{namespace}:{name}", groups)
    if question.get("path"):
        return core.authorizer.allows(user, Ask(question["verb"], path=question["path"])), ""
    words = {key: str(question.get(key) or "") for key in ("group", "resource", "subresource", "namespace", "name")}
    return core.authorizer.allows(user, Ask(question["verb"], **words)), ""  # type: ignore[arg-type]
