"""Request bodies: bytes into trees that have their kind's structure, or 400 in upstream's words.

Stage: edge.  In: a body, its media type, what is expected.  Out: a decoded tree; warnings of fields that are unknown.
Rules: pure; an operation that runs again reads its body again, so that it owns what it changes.
Truth: apiserver's endpoints/handlers and field validation (KEP-2885).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import orjson

from clusterip.api import jsontext
from clusterip.api.decoding import Decoded, decode
from clusterip.api.errors import ApiError, invalid, quoted
from clusterip.api.faults import go_kind
from clusterip.api.meta import GroupVersionKind, Tree
from clusterip.api.schema import UnknownDefinition, kinds
from clusterip.apiserver.core import BODY_LIMIT
from clusterip.transport.request import BodyBroken, BodyTooLarge, Request

SCHEME = '"pkg/api/legacyscheme/scheme.go:30"'  # where upstream registers its kinds
VALIDATIONS = ("", "Ignore", "Warn", "Strict")
JSON_TYPES = ("", "application/json", "text/json")
PROTOBUF = "application/vnd.kubernetes.protobuf"
_OTHER_VERSION = "the API version in the data ({}) does not match the expected API version ({})"
DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")


@dataclass(frozen=True, slots=True)
class Body:
    """What a client sent."""

    raw: bytes
    media: str

    def parse(self, kind: str) -> Tree:
        """A fresh tree, the caller's own; `kind` is what it should be."""
        if self.media == PROTOBUF:
            return parse_protobuf(self.raw, kind)
        tree = parse_yaml(self.raw, kind) if self.media in YAML_TYPES else parse_json(self.raw, kind)
        if tree is None:
            return {}
        if not isinstance(tree, dict):
            why = f"couldn't get version/kind; json parse error: {_go_type(tree)}"
            raise ApiError.bad_request(_unrecognized(kind, f"{why} ({jsontext.summary(self.raw)})"))
        version = tree.get("apiVersion")
        if isinstance(version, str) and version.count("/") > 1:
            why = f"unexpected GroupVersion string: {version} ({jsontext.summary(self.raw)})"
            raise ApiError.bad_request(_unrecognized(kind, why))
        return tree


async def read(request: Request) -> Body:
    """The request's body, of a type that can be read; 413 over the limit, 415 for other types."""
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        raw = await request.body(BODY_LIMIT)
    except BodyTooLarge:
        raise ApiError.body_too_large(BODY_LIMIT) from None
    except BodyBroken as error:
        raise ApiError.bad_request(f"the body cannot be read: {error}") from None
    return Body(raw, media)


def check_media(body: Body, accepted: Sequence[str] = (*JSON_TYPES, *YAML_TYPES, PROTOBUF)) -> None:
    if body.media not in accepted:
        shown = ", ".join(("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"))
        raise ApiError.unsupported_media_type(shown.split(", "))


def parse_json(raw: bytes, kind: str) -> object:
    """JSON; what is wrong is told as Go tells it."""
    try:
        found: object = jsontext.parse(raw)
    except jsontext.JsonError as error:
        why = f"couldn't get version/kind; json parse error: {error} ({jsontext.summary(raw)})"
        raise ApiError.bad_request(_unrecognized(kind, why)) from None
    return found


def parse_yaml(raw: bytes, kind: str) -> object:
    from clusterip.api import yaml  # a rare form, and PyYAML is not cheap to load

    if raw.lstrip()[:1] == b"{":
        return parse_json(raw, kind)
    try:
        found, _ = yaml.load(raw.decode(errors="replace"))
    except yaml.YamlError as error:
        raise ApiError.bad_request(_unrecognized(kind, f"{error} ({jsontext.summary(raw)})")) from None
    return {} if found is None else found


def equal_keys(body: Body, tree: Tree) -> list[str]:
    """What strict reading refuses of a body that was just parsed to a tree: keys that are there twice."""
    if body.media == PROTOBUF:
        return []
    if body.media not in YAML_TYPES or body.raw.lstrip()[:1] == b"{":
        return jsontext.duplicates(body.raw, tree)
    from clusterip.api import yaml

    _, found = yaml.load(body.raw.decode(errors="replace"))
    return [yaml.strict_text(found)] if found else []


def parse_protobuf(raw: bytes, kind: str) -> Tree:
    """Kubernetes' protobuf form of a built-in kind."""
    from clusterip.api import protobuf  # kubectl's `create` and typed Go clients send it, nobody else

    try:
        envelope = protobuf.open_envelope(raw)
        group, _, version = envelope.api_version.rpartition("/")
        name = (
            DELETE_OPTIONS
            if envelope.kind == "DeleteOptions"
            else kinds().get(GroupVersionKind(group, version, envelope.kind))
        )
        if name is None:
            why = f"no kind {quoted(envelope.kind)} is registered for version {quoted(envelope.api_version)}"
            raise _unfit(envelope.kind, envelope.api_version, kind, f"{why} in scheme {SCHEME}")
        tree = protobuf.message(envelope.raw, name)
    except protobuf.ProtobufError as error:
        raise ApiError.bad_request(_unrecognized(kind, str(error))) from None
    tree["kind"], tree["apiVersion"] = envelope.kind, envelope.api_version
    return tree


def _unrecognized(kind: str, why: str) -> str:
    return f"the object provided is unrecognized (must be of type {kind}): {why}"


def _go_type(value: object) -> str:
    names: dict[type, str] = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}
    return (
        f"json: cannot unmarshal {names.get(type(value), 'null')} into Go value of type struct "
        '{ APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
    )


def _check_texts(tree: Tree, kind: str) -> None:
    """What a tree says that it is must be text."""
    for field in ("apiVersion", "kind"):
        if not isinstance(tree.get(field) or "", str):
            found_type = go_kind(tree[field], "string")
            why = f"json: cannot unmarshal {found_type} into Go struct field .{field} of type string"
            raise ApiError.bad_request(_unrecognized(kind, f"couldn't get version/kind; json parse error: {why}"))


def decoded(
    tree: Tree,
    kind: str,
    api_version: str,
    schema: str,
    validation: str,
    warn: Callable[[str], None],
    *,
    strict: Sequence[str] = (),
    ordered: Callable[[list[str]], list[str]] | None = None,
    refuse: Callable[[str], ApiError] | None = None,
    converted: bool = False,
    own: Callable[[Tree], Decoded] | None = None,
    but: Collection[str] = (),
) -> Tree:
    """The tree with its kind's structure; unknown fields are refused, told or ignored as asked.

    `strict` are faults of the body, judged as unknown fields are; `ordered` puts both in its order; `refuse` makes
    the refusal (a patch has its own); `own` decodes what no definition of ours describes; `converted`: the tree never
    was text, and its errors have other words; `but` are fields that are decoded already.
    """
    _check_texts(tree, kind)
    if own is not None and not converted:
        _check_custom_kind(tree, kind, api_version)
    else:
        _check_kind(tree.get("kind") or kind, tree.get("apiVersion") or api_version, kind, api_version)
    if validation not in VALIDATIONS:
        raise _bad_validation(validation)
    tree["kind"], tree["apiVersion"] = kind, api_version
    refuse = refuse or (lambda why: _unfit(kind, api_version, kind, why))
    try:
        found = own(tree) if own else decode(tree, schema, but)
    except UnknownDefinition:
        return tree
    if found.error:
        raise refuse(found.conversion if converted else found.error)
    faults = [*strict, *found.unknown]
    if ordered is not None and strict and found.unknown:
        faults = ordered(faults)
    if faults and validation == "Strict":
        raise refuse(f"strict decoding error: {', '.join(faults)}")
    if validation in ("", "Warn"):
        for text in faults:
            warn(text)
    tree.setdefault("metadata", {})
    return tree


def delete_options(body: Body) -> Tree:
    """DeleteOptions of any version: they are the same in all."""
    tree = _options_tree(body)
    given = tree.get("kind") or "DeleteOptions"
    if given != "DeleteOptions":
        raise ApiError.bad_request(_unrecognized("DeleteOptions", f"the kind in the data is {given}"))
    found = decode(tree, DELETE_OPTIONS)
    if found.error:
        raise ApiError.bad_request(found.error)
    return tree


def _options_tree(body: Body) -> Tree:
    """Options that are no JSON are told without the kind that was expected."""
    if body.media in JSON_TYPES:
        try:
            jsontext.parse(body.raw)
        except jsontext.JsonError as error:
            raise ApiError.bad_request(f"couldn't get version/kind; json parse error: {error}") from None
    return body.parse("DeleteOptions")


def _check_custom_kind(tree: Tree, kind: str, api_version: str) -> None:
    """A custom resource says itself what it is."""
    given, version = tree.get("kind") or "", tree.get("apiVersion") or ""
    if not given:
        body = orjson.dumps(tree)
        why = f"Object 'Kind' is missing in '{body.decode()}' ({jsontext.summary(body)})"
        raise ApiError.bad_request(_unrecognized(kind, why))
    if version != api_version:
        raise ApiError.bad_request(_OTHER_VERSION.format(version, api_version))
    if given != kind:
        metadata, group = tree.get("metadata"), api_version.rpartition("/")[0]
        name = metadata.get("name") if isinstance(metadata, dict) else ""
        raise ApiError.invalid(group, given, str(name or ""), [invalid("kind", given, f"must be {kind}")])


def _check_kind(given: str, given_version: str, kind: str, api_version: str) -> None:
    """The data must say what the path says; what it says instead is either unknown or another kind."""
    if (given, given_version) == (kind, api_version):
        return
    group, _, version = given_version.rpartition("/")
    if GroupVersionKind(group, version, given) not in kinds():
        why = f"no kind {quoted(given)} is registered for version {quoted(given_version)} in scheme {SCHEME}"
        raise _unfit(given, given_version, kind, why)
    if given != kind:
        inside = api_version.rpartition("/")[0].partition(".")[0] or "core"
        why = f"converting ({version}.{given}) to ({inside}.{kind}): unknown conversion"
        raise _unfit(given, given_version, kind, why)
    raise ApiError.bad_request(_OTHER_VERSION.format(given_version, api_version))


def _unfit(given: str, api_version: str, kind: str, why: str) -> ApiError:
    version = quoted(api_version.rpartition("/")[2])
    return ApiError.bad_request(f"{given} in version {version} cannot be handled as a {kind}: {why}")


def _bad_validation(validation: str) -> ApiError:
    from clusterip.api.errors import not_supported

    error = not_supported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn"))
    return ApiError.invalid("meta.k8s.io", "CreateOptions", "", [error])


def parse_patch(raw: bytes) -> object:
    """A patch's document; its faults are 400 without the kind's name."""
    try:
        found: object = jsontext.parse(raw)
    except jsontext.JsonError as error:
        raise ApiError.bad_request(f"error decoding patch: {error}") from None
    return found
