"""matchConditions: the last word on whether a webhook is asked, in CEL.

Stage: decide; pure.  In: a hook's conditions, a review's request.  Out: whether they hold; ConditionError where one
fails and none says no.
Limits: `authorizer` is not there.
Truth: apiserver's pkg/admission/plugin/webhook/matchconditions/matcher.go; KEP-3716.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterip.api import cel
from clusterip.api.cel import CelError
from clusterip.api.meta import Tree

VARIABLES = (("object", "DYN"), ("oldObject", "DYN"), ("request", "DYN"))
HIDDEN = ("object", "oldObject")


class ConditionError(Exception):
    """Conditions that could not be judged."""


def hold(conditions: Iterable[Tree], request: Tree) -> bool:
    """Whether no condition says no; where the library is missing they are not asked."""
    if not cel.is_available():
        return True
    plain = {key: value for key, value in request.items() if key not in HIDDEN and value is not None}
    variables = {"object": request.get("object"), "oldObject": request.get("oldObject"), "request": plain}
    failures = []
    for condition in conditions:
        text = condition.get("expression") or ""
        try:
            if cel.compiled(text, VARIABLES, "BOOL").ask(variables) is not True:
                return False
        except CelError as error:
            failures.append(f"expression '{text}' resulted in error: {error}")
    if failures:
        raise ConditionError(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")
    return True
