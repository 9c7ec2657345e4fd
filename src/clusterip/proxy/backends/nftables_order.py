"""What may not go in one transaction: what must wait for the next, and pieces for a kernel that takes none so long.

Stage: commit.  In: Changes.  Out: Changes.
Rules: pure.  Two look-ups are not one atomic step: a slot goes one transaction after the count that could still name
it, and a chain one transaction after the element that named it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clusterip.diff import Changes
from clusterip.kernel.nft import (
    NUMBER_BYTES,
    TABLE,
    VALUE_BYTES,
    Chain,
    Element,
    Key,
    Kind,
    SetSpec,
    Value,
    chain_key,
    element_key,
    set_key,
)
from clusterip.kernel.nft_expression import named
from clusterip.kernel.nft_field import NUMBER
from clusterip.proxy.backends import nftables_table as table
from clusterip.proxy.model import Family

NO_SLOTS = Element()
FRONTENDS_OF = {table.ENDPOINTS: table.SERVICE_IPS, table.NODEPORT_ENDPOINTS: table.SERVICE_NODEPORTS}
SHORT = 500  # single elements in one transaction, when it must be short
FEW = 500  # keys that are never a long transaction
LONG = 20000  # when it may be long: the kernel's hash tables grow between transactions, and until then they are slow
Values = Mapping[Key, Value]


def in_order(changes: Changes[Key, Value], family: Family) -> tuple[Changes[Key, Value], dict[Key, Value]]:
    """The changes to make now, and the removals that must come one transaction later."""
    if not changes.remove:
        return changes, {}
    changes = _with_single_slots(changes, VALUE_BYTES[family.table])
    later = held_back(changes)
    if not later:
        return changes, {}
    return Changes(changes.put, {key: value for key, value in changes.remove.items() if key not in later}), later


def _with_single_slots(changes: Changes[Key, Value], width: int) -> Changes[Key, Value]:
    """Runs that get shorter or longer or go, slot by slot; slots that stay are on neither side. Others stay runs."""
    slots = ((key, value) for key, value in changes.remove.items() if key.name in FRONTENDS_OF)
    old = [key for key, value in slots if _changes_length(value, changes.put.get(key))]
    if not old:
        return changes
    put, remove = dict(changes.put), dict(changes.remove)
    for key in old:
        before, after = remove.pop(key), put.pop(key, NO_SLOTS)
        assert isinstance(before, Element)
        assert isinstance(after, Element)
        for slot, was, becomes in _differing_slots(key, before, after, width):
            if becomes is not None:
                put[slot] = becomes
            if was is not None:
                remove[slot] = was
    return Changes(put, remove)


def _differing_slots(
    key: Key, before: Element, after: Element, width: int
) -> Iterator[tuple[Key, Element | None, Element | None]]:
    """The slots that two runs fill differently."""
    head, first = key.element[:-NUMBER_BYTES], NUMBER.unpack(key.element[-NUMBER_BYTES:])[0]
    (old, old_words), (new, new_words) = before, after
    assert isinstance(old, bytes)
    assert isinstance(new, bytes)
    for place in range(max(len(old), len(new)) // width):
        start = place * width
        was, becomes = old[start : start + width], new[start : start + width]
        if was != becomes or old_words != new_words:
            slot = Key(key.kind, key.name, head + NUMBER.pack(first + place))
            yield slot, Element(was, old_words) if was else None, Element(becomes, new_words) if becomes else None


def _changes_length(before: Value, after: Value | None) -> bool:
    return isinstance(before, Element) and not (isinstance(after, Element) and len(after.value) == len(before.value))


def held_back(changes: Changes[Key, Value]) -> dict[Key, Value]:
    """The removals that must come one transaction later than these changes, in which slots are single."""
    gone = {key: value for key, value in changes.remove.items() if key not in changes.put}
    if not gone:
        return gone
    held = {key: value for key, value in gone.items() if _is_led_to(_leading_to(key), changes)}
    if any(key.kind is Kind.CHAIN for key in gone):
        held |= _held_chains(changes.remove, gone)
    return held


def _is_led_to(leading: Key | None, changes: Changes[Key, Value]) -> bool:
    """Whether what leads there changes now."""
    return leading in changes.put or (leading in changes.remove and leading is not None and leading.element != b"")


def _leading_to(key: Key) -> Key | None:
    """What leads to an element of a slot: the frontend's element; to a map of choices: the chain that it belongs to.

    When that chain goes, the map goes with it, or waits with it.
    """
    if key.kind not in (Kind.ELEMENT, Kind.SET):
        return None
    if frontends := FRONTENDS_OF.get(key.name):
        return element_key(frontends, key.element[:-NUMBER_BYTES])
    return chain_key(key.name)


def _held_chains(removed: Values, gone: Values) -> dict[Key, Value]:
    """Chains that an element names which changes now, then all that these chains name in turn."""
    held: dict[Key, Value] = {}
    within: dict[str, list[Key]] | None = None
    names = [_chain_of(value) for value in removed.values() if isinstance(value, Element)]
    while names:
        name = names.pop()
        for key in (chain_key(name), set_key(name)):
            value = gone.get(key)
            if value is None or key in held:
                continue
            held[key] = value
            if isinstance(value, Chain):
                names += [found for rule in value.rules for found in named(rule.expressions)]
            elif isinstance(value, SetSpec):
                within = _by_set(gone) if within is None else within
                elements = {each: gone[each] for each in within.get(name, ())}
                held |= elements
                names += [_chain_of(element) for element in elements.values() if isinstance(element, Element)]
    return held


def _chain_of(element: Element) -> str:
    return element.value.partition(" ")[2] if isinstance(element.value, str) else ""


def _by_set(values: Values) -> dict[str, list[Key]]:
    found: dict[str, list[Key]] = {}
    for key in values:
        if key.kind is Kind.ELEMENT:
            found.setdefault(key.name, []).append(key)
    return found


def is_long(changes: Changes[Key, Value], family: Family) -> bool:
    """Whether the changes are better made in pieces, and may be: a table is replaced at once."""
    if TABLE in changes.remove or len(changes.put) < FEW:
        return False
    return sum(_weight(changes, key, VALUE_BYTES[family.table]) for key in changes.put) > 2 * LONG


def pieces(changes: Changes[Key, Value], family: Family, size: int = SHORT) -> Iterator[Changes[Key, Value]]:
    """The changes as several transactions, for a kernel that takes none so long (an ordinary user's socket is small).

    Slots come before the frontends that lead to them, so that each Service appears whole.
    """
    elements = [key for key in {**changes.put, **changes.remove} if key.kind is Kind.ELEMENT]
    slots = [key for key in elements if key.name in FRONTENDS_OF or key.name not in table.SETS]
    others = set(elements).difference(slots)
    rest = [key for key in {**changes.remove, **changes.put} if key.kind is not Kind.ELEMENT]
    stay, leave = [key for key in rest if key in changes.put], [key for key in rest if key not in changes.put]
    for keys in (stay, slots, [key for key in elements if key in others], leave):
        yield from _cut(changes, keys, VALUE_BYTES[family.table], size)


def _weight(changes: Changes[Key, Value], key: Key, width: int) -> int:
    """How many single elements it is."""
    value = changes.put.get(key, changes.remove.get(key))
    return max(1, len(value.value) // width) if isinstance(value, Element) else 1


def _cut(changes: Changes[Key, Value], keys: list[Key], width: int, size: int) -> Iterator[Changes[Key, Value]]:
    chosen: list[Key] = []
    weight = 0
    for key in keys:
        weight += _weight(changes, key, width)
        chosen.append(key)
        if weight >= size:
            yield _only(changes, chosen)
            chosen, weight = [], 0
    if chosen:
        yield _only(changes, chosen)


def _only(changes: Changes[Key, Value], keys: list[Key]) -> Changes[Key, Value]:
    return Changes(*({key: side[key] for key in keys if key in side} for side in (changes.put, changes.remove)))
