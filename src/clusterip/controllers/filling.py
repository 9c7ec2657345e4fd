"""Endpoints -> slices: which stay where they are, and where the others go.

Stage: plan.  In: endpoints by group, the slices that there are.  Out: by group, what becomes of slices, and new ones.
Rules: pure; see endpointslice.py, 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clusterip.api.meta import Tree
from clusterip.controllers.model import EndpointSlice
from clusterip.controllers.podendpoints import Group, order_of

SLICE_LIMIT = 100

Identity = tuple[object, ...]


@dataclass(slots=True)
class Content:
    """What one slice will hold; built up inside one reconcile."""

    slice: EndpointSlice | None
    endpoints: list[Tree]
    changed: bool = False


@dataclass(slots=True)
class Placed:
    update: list[Content] = field(default_factory=list)
    same: list[Content] = field(default_factory=list)
    empty: list[EndpointSlice] = field(default_factory=list)
    new: list[list[Tree]] = field(default_factory=list)


def place(wanted: Mapping[Group, list[Tree]], ours: Iterable[EndpointSlice]) -> dict[Group, Placed]:
    """What becomes of the slices of each group."""
    by_group: dict[Group, list[EndpointSlice]] = {}
    for slice in sorted(ours, key=lambda slice: slice.metadata.name):
        by_group.setdefault(group_of(slice), []).append(slice)
    groups = dict.fromkeys([*wanted, *by_group])
    return {group: _place_group(wanted.get(group, []), by_group.get(group, [])) for group in groups}


def group_of(slice: EndpointSlice) -> Group:
    """What the endpoints of a slice share."""
    ports = tuple(
        (port.get("name") or "", port.get("protocol") or "TCP", port.get("port") or 0, port.get("appProtocol"))
        for port in slice.ports or ()
    )
    return Group(slice.address_type, tuple(sorted(ports, key=lambda entry: entry[:3])))


def identity(endpoint: Tree) -> Identity:
    """What makes an endpoint the same one, whatever its conditions."""
    target = endpoint.get("targetRef") or {}
    return (target.get("uid") or target.get("name"), endpoint.get("nodeName"), tuple(endpoint["addresses"]))


def _place_group(wanted: list[Tree], slices: list[EndpointSlice]) -> Placed:
    pending = {identity(endpoint): endpoint for endpoint in sorted(wanted, key=order_of)}
    placed = Placed()
    for slice in slices:
        _keep(slice, pending, placed)
    rest = list(pending.values())
    for content in sorted(placed.update, key=lambda content: -len(content.endpoints)):
        room = SLICE_LIMIT - len(content.endpoints)
        content.endpoints += rest[:room]
        rest = rest[room:]
    if rest and (roomy := _with_room(placed.same, len(rest))):
        roomy.endpoints += rest
        placed.same.remove(roomy)
        placed.update.append(roomy)
        rest = []
    placed.new = [rest[start : start + SLICE_LIMIT] for start in range(0, len(rest), SLICE_LIMIT)]
    return placed


def _keep(slice: EndpointSlice, pending: dict[Identity, Tree], placed: Placed) -> None:
    """Leave in the slice what it may keep, and say in which state that leaves it."""
    before = list(slice.endpoints or ())
    kept = [endpoint for old in before if (endpoint := pending.pop(identity(old), None)) is not None]
    if not kept:
        placed.empty.append(slice)
    elif kept == before:
        placed.same.append(Content(slice, kept))
    else:
        placed.update.append(Content(slice, kept, changed=True))


def _with_room(contents: Iterable[Content], count: int) -> Content | None:
    """The fullest slice that takes them all."""
    fitting = [content for content in contents if len(content.endpoints) + count <= SLICE_LIMIT]
    return max(fitting, key=lambda content: len(content.endpoints), default=None)
