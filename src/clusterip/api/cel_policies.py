"""What the expressions of admission policies may name, and their programs.

Stage: none; pure.  In: an expression.  Out: a program, or CelError with the reason that there is none.
Limits: everything is of any type: a field that a kind lacks is found when it is read.
Truth: apiserver's pkg/admission/plugin/cel/compile.go of 1.36.
"""

from __future__ import annotations

import re
from typing import Final

from clusterip.api import cel

NAMES: Final = ("object", "oldObject", "request", "params", "namespaceObject", "variables", "authorizer")
REQUEST_RESOURCE: Final = "authorizerRequestResource"
VARIABLES: Final = tuple((name, "DYN") for name in (*NAMES, REQUEST_RESOURCE))
_ASKED = re.compile(r"\bauthorizer\s*\.\s*requestResource\b")


def compiled(text: str, gives: str) -> cel.Program:
    """The program of an expression; CelError says why there is none."""
    program = cel.compiled(_ASKED.sub(REQUEST_RESOURCE, text), VARIABLES, "DYN")
    found = program.compiled.return_type().name()
    if found not in (gives, "DYN") and gives != "DYN":
        raise cel.CelError(f"must evaluate to {gives.lower()} but got {found.lower()}")
    return program
