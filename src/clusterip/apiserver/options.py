"""A request's parameters as Go's servers read them, and what they refuse.

Stage: edge; pure.  In: query parameters.  Out: numbers, flags, field errors; ApiError 400 for what cannot be read.
Rules: every parameter is read here, so that the same text means the same to every verb.
Truth: apimachinery's runtime/conversion.go and meta/v1/validation, Go's strconv and time, answers of 1.36.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from clusterip.api.errors import ApiError, FieldError, forbidden, invalid, not_supported, quoted, required, too_long

MANAGER_LIMIT = 128
LONGEST_NUMBER = 1000  # characters; leading zeros may be among them
VALIDATIONS = ("", "Ignore", "Warn", "Strict")
POLICIES = ("Foreground", "Background", "Orphan", "nil")
PIECE = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")
UNITS = ("ns", "us", "µs", "μs", "ms", "s", "m", "h")


def flag(query: Mapping[str, str], name: str) -> bool | None:
    """Anything but false and 0 is true, an empty text too; None when it is not there."""
    text = query.get(name)
    return None if text is None else text.lower() not in ("false", "0")


def integer(query: Mapping[str, str], name: str) -> int | None:
    """A decimal number; None when it is not there."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ApiError.bad_request(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
    if len(text) > LONGEST_NUMBER or not -(2**63) <= int(text) < 2**63:
        raise ApiError.bad_request(f"strconv.ParseInt: parsing {quoted(text)}: value out of range")
    return int(text)


def check_timeout(query: Mapping[str, str]) -> None:
    """The `timeout` of a request that does not stay open is a duration."""
    fault = duration_fault(query.get("timeout", ""))
    if fault:
        raise ApiError.bad_request(f"invalid timeout specified in the request URL - time: {fault}")


def duration_fault(text: str) -> str:
    """What is wrong with a duration, in Go's words; nothing for none."""
    rest = text.lstrip("+-") if text[:1] in ("+", "-") else text
    if not text or rest == "0":
        return ""
    position = 0
    while piece := PIECE.match(rest, position):
        unit, position = piece[2], piece.end()
        if not unit:
            return f"missing unit in duration {quoted(text)}"
        if unit not in UNITS:
            return f"unknown unit {quoted(unit)} in duration {quoted(text)}"
    return f"invalid duration {quoted(text)}" if position < len(rest) or not rest else ""


def write_problems(
    query: Mapping[str, str], dry_run: Sequence[str], kind: str, *, applies: bool = False
) -> list[FieldError]:
    """What is wrong with CreateOptions, UpdateOptions or PatchOptions (of server-side apply, or of another patch)."""
    problems = []
    if applies and not query.get("fieldManager"):
        problems.append(required("fieldManager", "is required for apply patch"))
    if kind == "PatchOptions" and "force" in query and not applies:
        problems.append(forbidden("force", "may not be specified for non-apply patch"))
    problems += _manager(query.get("fieldManager", "")) + dry_run_problems(dry_run)
    validation = query.get("fieldValidation", "")
    if validation not in VALIDATIONS:
        problems.append(not_supported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    return problems


def _manager(name: str) -> list[FieldError]:
    found = [too_long("fieldManager", MANAGER_LIMIT)] if len(name.encode()) > MANAGER_LIMIT else []
    for index, char in enumerate(name):
        if not char.isprintable():
            position = len(name[:index].encode())
            detail = f"invalid character U+{ord(char):04X} (at position {position})"
            found.append(invalid("fieldManager", name, detail))
    return found


def dry_run_problems(values: Sequence[str]) -> list[FieldError]:
    """All is the only stage there is."""
    return [not_supported("dryRun", list(values), ("All",))] if set(values) - {"All"} else []


def delete_problems(policy: str | None, orphan: bool | None, dry_run: Sequence[str]) -> list[FieldError]:
    """What is wrong with DeleteOptions."""
    problems = []
    if policy is not None and orphan is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        problems.append(invalid("propagationPolicy", policy, detail))
    if policy is not None and policy not in POLICIES[:3]:
        problems.append(not_supported("propagationPolicy", policy, POLICIES))
    return problems + dry_run_problems(dry_run)


def list_problems(query: Mapping[str, str]) -> list[FieldError]:
    """What is wrong with the ListOptions of a list."""
    token, version, match = (query.get(name, "") for name in ("continue", "resourceVersion", "resourceVersionMatch"))
    field = "resourceVersionMatch"
    problems = []
    if match:
        if not version:
            problems.append(forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if token:
            problems.append(forbidden(field, "resourceVersionMatch is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            problems.append(not_supported(field, match, ("Exact", "NotOlderThan", "")))
        if match == "Exact" and version == "0":
            problems.append(forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in query:
        problems.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return problems


def watch_problems(query: Mapping[str, str]) -> list[FieldError]:
    """What is wrong with the ListOptions of a watch."""
    match, field = query.get("resourceVersionMatch", ""), "resourceVersionMatch"
    initial = "sendInitialEvents" in query
    problems = []
    if initial and match != "NotOlderThan":
        problems.append(forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match and not initial:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        problems.append(forbidden(field, detail))
    if match and match != "NotOlderThan":
        problems.append(not_supported(field, match, ("NotOlderThan",)))
    if query.get("continue"):
        problems.append(forbidden(field, "resourceVersionMatch is forbidden when continue is provided"))
    return problems
