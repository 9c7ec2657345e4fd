"""What may be asked of a container's log.

Stage: decide.  In: a request's parameters.  Out: what is wrong with them.
Truth: core/v1 PodLogOptions and its validation, Kubernetes 1.36, where choosing a `stream` is alpha and off.
"""

from __future__ import annotations

from collections.abc import Mapping

from clusterip.api.errors import FieldError, forbidden, invalid

TWICE = "at most one of `sinceTime` or `sinceSeconds` may be specified"
LOWEST = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}
TOO_LOW = {0: "must be greater than or equal to 0", 1: "must be greater than 0"}


class NotANumber(ValueError):
    """A parameter that is a number holds something else; the text is the answer."""


def validate(query: Mapping[str, str]) -> list[FieldError]:
    """Everything that is wrong; NotANumber for what cannot be read at all."""
    numbers = {name: _number(query[name]) for name in LOWEST if query.get(name)}
    errors = [_low(name, numbers) for name in ("tailLines", "limitBytes")]
    if "sinceSeconds" in numbers and query.get("sinceTime"):
        errors.append(forbidden("", TWICE))
    else:
        errors.append(_low("sinceSeconds", numbers))
    if "stream" in query:
        errors.append(forbidden("stream", "may not be specified"))
    return [error for error in errors if error]


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NotANumber(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _low(name: str, numbers: Mapping[str, int]) -> FieldError | None:
    lowest, number = LOWEST[name], numbers.get(name)
    return invalid(name, number, TOO_LOW[lowest]) if number is not None and number < lowest else None
