"""Parts of an object that a write leaves alone, as the bytes that they are: neither decoded nor encoded again.

Stage: decide; pure.  In: an entry that says where its parts are.  Out: a tree whose parts, but for the metadata, are
sealed; and what was made of it, or of the whole object when somebody looked into a sealed part.
Rules: a sealed part can be handed on and be the same as itself, nothing else: every look at it ends the attempt, which
       has changed nothing, and the step is made anew with all parts decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeGuard, TypeVar

import orjson

from clusterip.api.meta import Tree

T = TypeVar("T")

PAUSE: Final = 16  # changes of a kind that decode all, after one whose parts were looked into
METADATA: Final = b'{"metadata":'
ALONE: Final = frozenset({"metadata", "apiVersion", "kind"})

Parts = tuple[tuple[str, int], ...]
"""What follows the metadata in an object's bytes: names, and the sizes of the values."""


class Opened(BaseException):
    """Somebody looked into a sealed part; no error, so that nobody handles it."""


def _opened(*_: Any, **__: Any) -> NoReturn:
    raise Opened


class Sealed:
    """A part that is passed on as it is."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __eq__(self, other: object) -> bool:
        return self is other or _opened()

    __class__ = property(_opened)
    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __getattr__ = _opened
    __hash__ = __repr__ = __str__ = __format__ = __reduce_ex__ = _opened


def is_sealed(value: object) -> TypeGuard[Sealed]:
    return type(value) is Sealed


def joined(metadata: Tree, rest: Tree) -> tuple[bytes, Parts]:
    """An object's bytes, metadata first, and where its parts are."""
    pieces, parts = [METADATA, orjson.dumps(metadata)], []
    for name, value in rest.items():
        raw = value.raw if type(value) is Sealed else orjson.dumps(value)
        pieces += (_label(name), raw)
        parts.append((name, len(raw)))
    pieces.append(b"}")
    return b"".join(pieces), tuple(parts)


def _label(name: str) -> bytes:
    known = _labels.get(name)
    if known is None:
        known = b",%b:" % orjson.dumps(name)
        if len(_labels) < MOST_LABELS:
            _labels[name] = known
    return known


MOST_LABELS: Final = 1000
_labels: Final[dict[str, bytes]] = {}


def spared(body: bytes, parts: Parts) -> Tree:
    """The tree with its metadata; all else is sealed."""
    position = len(body) - 1 - sum(len(_label(name)) + size for name, size in parts)
    tree: Tree = {"metadata": orjson.loads(body[len(METADATA) : position])}
    for name, size in parts:
        position += len(_label(name))
        tree[name] = Sealed(body[position : position + size])
        position += size
    return tree


class Sparing:
    """When it is worth while, of one kind."""

    __slots__ = ("paused",)

    def __init__(self) -> None:
        self.paused = 0
        """Changes that decode all, before the next attempt."""

    def made(self, attempt: Callable[[], T], whole: Callable[[], T]) -> T:
        """What comes of sealed parts, or else of the whole."""
        if self.paused:
            self.paused -= 1
            return whole()
        try:
            return attempt()
        except Opened:
            self.paused = PAUSE
            return whole()
