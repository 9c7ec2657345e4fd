"""Which form a client takes an answer in, and trees written in it: JSON, YAML, protobuf.

Stage: none; pure.  In: an Accept header, a tree.  Out: a Form; bytes.
Rules: the first form named wins, but that JSON is given wherever it will do as well as protobuf: kept objects are JSON,
       and need not be read to be sent.  Tables are never protobuf, and custom resources only as their metadata.
Truth: kubernetes.io/docs/reference/using-api/api-concepts (alternate representations); apiserver's
       pkg/endpoints/handlers/negotiation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from clusterip.api.errors import ApiError

JSON, YAML = "application/json", "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MEDIA: Final = (JSON, YAML, PROTOBUF)
ANYTHING: Final = ("*/*", "application/*")
PARTIAL = "PartialObjectMetadata"
SHAPES: Final = ("Table", PARTIAL, PARTIAL + "List")

Range = tuple[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Form:
    """What a client wants to see: a media type, and perhaps a kind that everything is turned into."""

    media: str = JSON
    shape: str = ""

    @property
    def plain(self) -> bool:
        return self.media == JSON and not self.shape

    @property
    def of_stream(self) -> str:
        """The media type of a watch."""
        return self.media + ";stream=watch" if self.media == PROTOBUF else self.media


PLAIN = Form()


def parse_accept(text: str) -> list[Range]:
    """Media ranges with their parameters, the most wanted first."""
    ranges = []
    for part in text.split(","):
        media, *pairs = (piece.strip() for piece in part.split(";"))
        parameters = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 1.0
        if media and quality > 0:
            ranges.append((quality, media.lower(), parameters))
    ranges.sort(key=lambda item: -item[0])
    return [(media, parameters) for _, media, parameters in ranges]


@lru_cache(maxsize=512)
def negotiate(accept: str, *, is_custom: bool = False) -> Form:
    """The form asked for that there is, of a custom resource too; ApiError 406 when there is none."""
    if not accept:
        return PLAIN
    ranges = parse_accept(accept)
    found = [form for each in ranges if (form := _form(*each)) is not None and not (is_custom and _is_whole(form))]
    if found:
        return _as_json(found)
    if any(media in MEDIA for media, _ in ranges):
        raise ApiError(406, "NotAcceptable", f"only the following media types are accepted: {', '.join(MEDIA)}")
    raise ApiError.not_acceptable(MEDIA)


@lru_cache(maxsize=512)
def negotiate_plain(accept: str) -> Form:
    """The form of what is no resource (an error, for instance): there is always one."""
    plain = [(media, parameters) for media, parameters in parse_accept(accept) if not parameters.get("as")]
    found = [form for each in plain if (form := _form(*each)) is not None]
    return _as_json(found) if found else PLAIN


def _form(media: str, parameters: dict[str, str]) -> Form | None:
    """What one media range asks for, if there is such a form."""
    media, shape = JSON if media in ANYTHING else media, parameters.get("as", "")
    if media not in MEDIA:
        return None
    if not shape:
        return Form(media)
    is_meta = parameters.get("g") == "meta.k8s.io" and parameters.get("v") == "v1"
    if not is_meta or shape not in SHAPES or (shape == "Table" and media == PROTOBUF):
        return None
    return Form(media, shape)


def _is_whole(form: Form) -> bool:
    return form.media == PROTOBUF and not form.shape


def _as_json(found: list[Form]) -> Form:
    """The most wanted of some forms; in JSON where that will do as well."""
    first = found[0]
    same = Form(JSON, first.shape)
    return same if first.media == PROTOBUF and same in found else first


def render(tree: Any, form: Form) -> bytes:
    """A tree in a media type."""
    if form.media == YAML:
        from clusterip.api import yaml  # a rare form, and PyYAML is not cheap to load

        return yaml.dump(tree).encode()
    if form.media == PROTOBUF:
        from clusterip.api import protobuf_writing

        return protobuf_writing.whole(tree)
    return orjson.dumps(tree)
