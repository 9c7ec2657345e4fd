"""What goes wrong with a request or an object, in kube-apiserver's words.

Stage: none; values that everything above raises or returns.
In: names and reasons.  Out: FieldError, ApiError and its Status tree.
Rules: pure; a sentence that a client may see is written here once and nowhere else.
Truth: apimachinery's api/errors and util/validation/field, as recorded from 1.36.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clusterip.api.meta import Tree, qualified

# --- one field -------------------------------------------------------------------------------------------------------

WORDS = {
    "FieldValueNotFound": "Not found",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueTypeInvalid": "Invalid value",
    "InternalError": "Internal error",
}
WITHOUT_VALUE = frozenset({"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "InternalError"})

GO_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}
HTML_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def quoted(text: str) -> str:
    """Go's %q."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in GO_ESCAPES:
        return GO_ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown(value: Any) -> str:
    """A refused value as messages show it: strings quoted, structures as Go's JSON in the order given."""
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, (bool, int, dict, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(HTML_ESCAPES)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    return str(value)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One refusal of one field."""

    type: str
    field: str
    detail: str = ""
    value: Any = None

    def message(self) -> str:
        """The cause's text, without the field."""
        head = WORDS[self.type] if self.type in WITHOUT_VALUE else f"{WORDS[self.type]}: {shown(self.value)}"
        return f"{head}: {self.detail}" if self.detail else head

    def __str__(self) -> str:
        return f"{self.field}: {self.message()}"

    def cause(self) -> Tree:
        return {"reason": self.type, "message": self.message(), "field": self.field}


@dataclass(frozen=True, slots=True)
class Bare(FieldError):
    """A refusal whose value is too large to be repeated."""

    def message(self) -> str:
        head = WORDS[self.type]
        return f"{head}: {self.detail}" if self.detail else head


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, detail, value)


def required(path: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", path, detail)


def not_supported(path: str, value: Any, allowed: Iterable[str]) -> FieldError:
    """The allowed values are named in the order given."""
    names = ", ".join(map(quoted, allowed))
    return FieldError("FieldValueNotSupported", path, f"supported values: {names}" if names else "", value)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", path, detail)


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", path, "", value)


def not_found(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", path, "", value)


def internal_fault(path: str, detail: str) -> FieldError:
    """A check that could not be made."""
    return FieldError("InternalError", path, detail)


def too_long(path: str, limit: int) -> FieldError:
    """A text of more than so many bytes; the value itself is not repeated."""
    return FieldError("FieldValueTooLong", path, f"may not be more than {limit} {'byte' if limit == 1 else 'bytes'}")


def too_many(path: str, actual: int, limit: int) -> FieldError:
    return FieldError(
        "FieldValueTooMany", path, f"must have at most {limit} {'item' if limit == 1 else 'items'}", actual
    )


def aggregate(errors: Sequence[FieldError] | Sequence[str]) -> str:
    """Several errors in one line: each once, in brackets when more than one."""
    texts = list(dict.fromkeys(map(str, errors)))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


# --- one request -----------------------------------------------------------------------------------------------------


class ApiError(Exception):
    """A Status of failure: what a server answers, and what a client raises."""

    def __init__(
        self, code: int, reason: str, message: str, details: Tree | None = None, metadata: Tree | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata = metadata or {}

    def __repr__(self) -> str:
        return f"ApiError({self.code}, {self.reason!r}, {self.message!r})"

    def status(self) -> Tree:
        tree: Tree = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            tree["reason"] = self.reason
        if self.details is not None:
            tree["details"] = self.details
        return {**tree, "code": self.code}

    @property
    def retry_after_seconds(self) -> int:
        """When the server wants to be asked again; 0 when it does not say."""
        return int((self.details or {}).get("retryAfterSeconds") or 0)

    # Makers, in upstream's words. `plural` is a resource ("services"), `kind` a kind ("Service").

    @classmethod
    def not_found(cls, group: str, plural: str, name: str) -> ApiError:
        return cls(
            404, "NotFound", f"{qualified(plural, group)} {quoted(name)} not found", details_of(group, plural, name)
        )

    @classmethod
    def no_such_resource(cls) -> ApiError:
        """No such path in the API at all."""
        return cls(404, "NotFound", "the server could not find the requested resource", {})

    @classmethod
    def already_exists(cls, group: str, plural: str, name: str, *, leaving: bool = False) -> ApiError:
        text = f"{qualified(plural, group)} {quoted(name)} already exists"
        if leaving:
            text = f"object is being deleted: {text}"
        return cls(409, "AlreadyExists", text, details_of(group, plural, name))

    @classmethod
    def generated_name_taken(cls, group: str, plural: str, name: str) -> ApiError:
        why = "already exists, the server was not able to generate a unique name for the object"
        text = f"{qualified(plural, group)} {quoted(name)} {why}"
        return cls(409, "AlreadyExists", text, {**details_of(group, plural, name), "retryAfterSeconds": 1})

    @classmethod
    def conflict(cls, group: str, plural: str, name: str, why: str) -> ApiError:
        text = f"Operation cannot be fulfilled on {qualified(plural, group)} {quoted(name)}: {why}"
        return cls(409, "Conflict", text, details_of(group, plural, name))

    @classmethod
    def modified(cls, group: str, plural: str, name: str) -> ApiError:
        """An update made from an old resourceVersion."""
        why = "the object has been modified; please apply your changes to the latest version and try again"
        return cls.conflict(group, plural, name, why)

    @classmethod
    def invalid(cls, group: str, kind: str, name: str, errors: Sequence[FieldError]) -> ApiError:
        text = f"{qualified(kind, group)} {quoted(name)} is invalid"
        causes = [error.cause() for error in errors]
        details = {**details_of(group, kind, name), **({"causes": causes} if causes else {})}
        return cls(422, "Invalid", f"{text}: {aggregate(errors)}" if errors else text, details)

    @classmethod
    def bad_request(cls, text: str) -> ApiError:
        return cls(400, "BadRequest", text)

    @classmethod
    def forbidden(cls, group: str, plural: str, name: str, why: str) -> ApiError:
        """All of group, plural and name may be empty: a path that is not a resource."""
        if not plural:
            text = f"forbidden: {why}"
        else:
            text = f"{qualified(plural, group)}{' ' + quoted(name) if name else ''} is forbidden: {why}"
        return cls(403, "Forbidden", text, details_of(group, plural, name))

    @classmethod
    def unauthorized(cls) -> ApiError:
        return cls(401, "Unauthorized", "Unauthorized")

    @classmethod
    def method_not_allowed(cls) -> ApiError:
        """The path exists, the method does not."""
        return cls(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})

    @classmethod
    def not_acceptable(cls, available: Sequence[str]) -> ApiError:
        text = f"406: Not Acceptable\n\nAvailable representations: {', '.join(available)}"
        return cls(406, "NotAcceptable", text, {})

    @classmethod
    def unsupported_media_type(cls, accepted: Sequence[str] | None = None) -> ApiError:
        """With the accepted types for a patch; upstream names none for other bodies."""
        if accepted is None:
            return cls(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
        text = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
        return cls(415, "UnsupportedMediaType", text)

    @classmethod
    def expired(cls, text: str, resume: str = "") -> ApiError:
        """With the token by which a list goes on, as things are now."""
        return cls(410, "Expired", text, metadata={"continue": resume} if resume else None)

    @classmethod
    def too_old_resource_version(cls, asked: int, oldest: int) -> ApiError:
        return cls.expired(f"too old resource version: {asked} ({oldest})")

    @classmethod
    def too_large_resource_version(cls, asked: int, current: int, retry_after_seconds: int = 1) -> ApiError:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        text = f"Timeout: Too large resource version: {asked}, current: {current}"
        retry = {"retryAfterSeconds": retry_after_seconds} if retry_after_seconds else {}
        return cls(504, "Timeout", text, {"causes": [cause], **retry})

    @classmethod
    def body_too_large(cls, limit: int) -> ApiError:
        return cls(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")

    @classmethod
    def timeout(cls, text: str, retry_after_seconds: int = 0) -> ApiError:
        details = {"retryAfterSeconds": retry_after_seconds} if retry_after_seconds else {}
        return cls(504, "Timeout", f"Timeout: {text}", details)

    @classmethod
    def service_unavailable(cls, text: str) -> ApiError:
        return cls(503, "ServiceUnavailable", text)

    @classmethod
    def unprocessable(cls) -> ApiError:
        """A patch that cannot be applied; upstream tells no more."""
        return cls(422, "Invalid", "the server rejected our request due to an error in our request", {})

    @classmethod
    def internal(cls, text: str) -> ApiError:
        return cls(500, "InternalError", f"Internal error occurred: {text}", {"causes": [{"message": text}]})

    @classmethod
    def unclassified(cls, text: str) -> ApiError:
        """An error that upstream lets through as it is: code 500 and no reason."""
        return cls(500, "", text)

    @classmethod
    def namespace_terminating(cls, group: str, plural: str, name: str, namespace: str) -> ApiError:
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        error = cls.forbidden(group, plural, name, why)
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        error.details = {**(error.details or {}), "causes": [cause]}
        return error

    @classmethod
    def from_status(cls, tree: Tree) -> ApiError:
        """What a client raises for a server's answer; a missing field never hides the rest."""
        code = tree.get("code")
        return cls(
            code if isinstance(code, int) else 500,
            str(tree.get("reason") or ""),
            str(tree.get("message") or ""),
            details if isinstance(details := tree.get("details"), dict) else None,
        )


def details_of(group: str, kind: str, name: str) -> Tree:
    """A Status's details; what is empty is left out."""
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}
