"""What is wrong with a tree that is decoded, in the words of Go's decoders.

Stage: none; pure.  In: values, the way to them, the Go type that should have held them.  Out: texts.
Rules: a text is made only when something is wrong; until then a way is a chain of pairs.
Truth: Go's encoding/json, sigs.k8s.io/json, apimachinery's runtime converter.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Path: TypeAlias = "tuple[Any, Any] | None"
"""The way to a value, from its end: (the way before, field name | index | (map key,))."""

MOST_STRICT_ERRORS: Final = 100  # upstream stops counting there


class Found:
    """What is wrong with a tree."""

    __slots__ = ("conversion", "error", "unknown")

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.error = ""
        self.conversion = ""

    def unknown_field(self, path: Path, name: str) -> None:
        if len(self.unknown) < MOST_STRICT_ERRORS:
            self.unknown.append(f'unknown field "{shown(path)}{"." if path else ""}{name}"')

    def refuse(self, text: str) -> None:
        if not self.error:
            self.error = self.conversion = text

    def mismatch(self, value: Any, path: Path, structure: str, go: str, kind: str = "") -> None:
        """A value of a type that the field cannot hold; `kind` is Go's kind of that type, none if it reads itself."""
        if not self.error:
            where = f"Go struct field {structure}.{go_path(path, structure)}" if structure else "Go value"
            text = f"json: cannot unmarshal {go_kind(value, go)} into {{}} of type {go}"
            self.error = text.format(where)
            self.conversion = unconverted(value, go, kind) if kind else text.format("Go value")


def steps(path: Path) -> list[Any]:
    out = []
    while path is not None:
        path, step = path
        out.append(step)
    return out[::-1]


def shown(path: Path) -> str:
    """spec.ports[0].port"""
    text = ""
    for step in steps(path):
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step[0] if isinstance(step, tuple) else step
            text += f".{name}" if text else name
    return text


HANDLED: Final = frozenset({"livenessProbe", "readinessProbe", "startupProbe"})
HANDLERS: Final = frozenset({"exec", "httpGet", "tcpSocket", "grpc"})
REFERENCES: Final = frozenset(
    {
        "ConfigMapKeySelector",
        "SecretKeySelector",
        "ConfigMapEnvSource",
        "SecretEnvSource",
        "ConfigMapProjection",
        "SecretProjection",
        "ConfigMapVolumeSource",
    }
)


def go_path(path: Path, structure: str) -> str:
    """spec.ports.port: the fields alone, as Go's decoder counts them; what Go embeds is named as well."""
    names = [step for step in steps(path) if isinstance(step, str)]
    out: list[str] = []
    for before, name in zip(["", *names], names, strict=False):
        out += [*_embedded(before, name), name]
    if structure in REFERENCES and names[-1:] == ["name"]:
        out.insert(-1, "LocalObjectReference")
    return ".".join(out)


def _embedded(before: str, name: str) -> list[str]:
    """The structure without a name of its own that a field is in."""
    if before in HANDLED and name in HANDLERS:
        return ["ProbeHandler"]
    if before == "volumes" and name != "name":
        return ["VolumeSource"]
    return ["EphemeralContainerCommon"] if before == "ephemeralContainers" and name != "targetContainerName" else []


def go_kind(value: Any, go: str) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return f"number {value!r}" if go in ("int32", "int64") else "number"
    return {str: "string", list: "array", dict: "object", type(None): "null"}[type(value)]


CONTAINER_ERRORS: Final = {"struct": "struct from:", "slice": "slice from", "map": "map from"}
PYTHON_KINDS: Final = {str: "string", bool: "bool", int: "int64", float: "float64", list: "slice", dict: "map"}


def unconverted(value: Any, go: str, kind: str) -> str:
    """What apimachinery's converter of trees says of a value that a Go type cannot hold."""
    have = PYTHON_KINDS.get(type(value), "invalid")
    if kind in CONTAINER_ERRORS:
        return f"cannot restore {CONTAINER_ERRORS[kind]} {have}"
    numbers = ("int32", "int64", "float64")
    if have in numbers and ((kind == "string" and have == "int64") or kind in numbers):
        return f"cannot convert {have} to {go}"
    return f"unrecognized type: {kind}"
