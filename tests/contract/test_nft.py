"""What nftables promises, held by the fake and by the kernel alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import pytest

from clusterip.diff import Changes, diff, patched
from clusterip.kernel.nft import (
    TABLE,
    Chain,
    Element,
    Hook,
    Key,
    Nft,
    NftError,
    SetSpec,
    Table,
    TableSpec,
    Value,
    chain_key,
    element_key,
    set_key,
)
from clusterip.kernel.nft_expression import rule
from clusterip.kernel.nft_fake import FakeNft
from clusterip.kernel.nft_field import Field, pack
from clusterip.kernel.nft_statement import (
    Accept,
    Dispatch,
    Drop,
    Established,
    FlipMark,
    FromElsewhere,
    Goto,
    InSet,
    Is,
    IsLocal,
    Jump,
    LacksMark,
    Masquerade,
    NewConnection,
    PortBetween,
    Reject,
    Remember,
    Return,
    SetMark,
    Spread,
    Translate,
    TranslateByMap,
    Translated,
)
from kernel.nft_places import nft_in, own_namespace, text_nft_in

OURS = Table("ip", "contract")
KEY = (Field.DESTINATION, Field.PROTOCOL, Field.PORT)
SLOT_KEY = (*KEY, Field.NUMBER)
VALUE = (Field.DESTINATION, Field.TCP_PORT)


def element(name: str, text: str) -> Key:
    fields = {"verdicts": KEY, "targets": SLOT_KEY, "addresses": KEY[:1], "choices": SLOT_KEY[-1:]}
    return element_key(name, pack(text, fields.get(name, KEY[:1]), "ip"))


def values(*texts: str, comment: str = "") -> Element:
    """A run of addresses and ports."""
    return Element(b"".join(pack(text, VALUE, "ip") for text in texts), comment)


START: Mapping[Key, Value] = {
    TABLE: TableSpec("of a test"),
    set_key("verdicts"): SetSpec(KEY, has_verdicts=True, counts=True, comment="where to"),
    set_key("targets"): SetSpec(SLOT_KEY, VALUE),
    set_key("choices"): SetSpec((Field.NUMBER,), has_verdicts=True),
    set_key("clients"): SetSpec((Field.SOURCE,), timeout_seconds=5400, is_dynamic=True, comment="who came"),
    set_key("addresses"): SetSpec((Field.DESTINATION,)),
    chain_key("entry"): Chain((rule(NewConnection(), Jump("services")),), Hook("nat", "prerouting", -100)),
    chain_key("services"): Chain((rule(Dispatch(KEY, "verdicts")), rule(InSet((Field.DESTINATION,), "addresses")))),
    chain_key("two"): Chain((rule(TranslateByMap(KEY, 2, 0, "targets")), rule(TranslateByMap(KEY, 1, 0, "targets")))),
    chain_key("known"): Chain(
        (rule(Remember("clients")), rule(Is(Field.PROTOCOL, "tcp"), Translate("10.0.0.1", 80), comment="to one")),
        comment="of one client",
    ),
    chain_key("passes"): Chain(
        (rule(Established(), Accept()), rule(Is(Field.PROTOCOL, "tcp"), PortBetween(80, 90), Accept())),
        Hook("filter", "forward", 0),
    ),
    element("verdicts", "10.96.0.1 . tcp . 443"): Element("goto two", "default/kubernetes:https"),
    element("targets", "10.96.0.1 . tcp . 443 . 0"): values("10.0.0.1 . 6443", "10.0.0.3 . 6443", comment="a/b:c"),
    element("targets", "10.96.0.1 . tcp . 443 . 65536"): values("10.0.0.2 . 6443"),
    element("addresses", "10.96.0.1"): Element(),
}


@pytest.fixture(
    params=["fake", pytest.param(nft_in, marks=pytest.mark.root), pytest.param(text_nft_in, marks=pytest.mark.root)],
    ids=["fake", "netlink", "text"],
)
def nft(request: pytest.FixtureRequest) -> Iterator[Nft]:
    if request.param == "fake":
        yield FakeNft()
        return
    with own_namespace() as fd:
        kernel = request.param(fd)
        yield kernel
        kernel.close()


def make(nft: Nft, changes: Changes[Key, Value]) -> Mapping[Key, Value]:
    """What the table is after the changes."""

    async def run() -> Mapping[Key, Value]:
        await nft.commit(OURS, changes)
        return await nft.read(OURS)

    return asyncio.run(run())


def refused(nft: Nft, changes: Changes[Key, Value]) -> str:
    with pytest.raises(NftError) as error:
        make(nft, changes)
    return str(error.value)


def test_no_table_reads_as_nothing(nft: Nft) -> None:
    assert asyncio.run(nft.read(OURS)) == {}


def test_what_was_put_is_read(nft: Nft) -> None:
    assert make(nft, Changes(put=START)) == START


def test_a_value_changes_in_one_transaction(nft: Nft) -> None:
    make(nft, Changes(put=START))
    after = {
        **START,
        element("targets", "10.96.0.1 . tcp . 443 . 0"): values("10.0.0.9 . 6443", "10.0.0.3 . 6443", comment="a/b:c"),
        element("verdicts", "10.96.0.1 . tcp . 443"): Element("drop", "default/kubernetes:https"),
        chain_key("services"): Chain((rule(Dispatch(KEY, "verdicts")), rule(Reject()))),
    }
    assert make(nft, diff(START, after)) == after


def test_rules_that_translate_can_be_added_to_a_map_that_exists(nft: Nft) -> None:
    make(nft, Changes(put=START))
    three = Changes(put={chain_key("three"): Chain((rule(TranslateByMap(KEY, 3, 65536, "targets")),))})
    assert make(nft, three) == patched(START, three)


def test_a_run_grows_and_shrinks(nft: Nft) -> None:
    make(nft, Changes(put=START))
    key = element("targets", "10.96.0.1 . tcp . 443 . 0")
    run = ["10.0.0.1 . 6443", "10.0.0.4 . 6443", "10.0.0.5 . 1"]
    for count in (3, 1, 2):
        before = asyncio.run(nft.read(OURS))
        after = {**before, key: values(*run[:count], comment="a/b:c")}
        assert make(nft, diff(before, after)) == after


def test_the_tail_of_a_run_can_go_alone(nft: Nft) -> None:
    make(nft, Changes(put=START))
    tail = element("targets", "10.96.0.1 . tcp . 443 . 1")
    after = make(nft, Changes(remove={tail: values("10.0.0.3 . 6443", comment="a/b:c")}))
    assert after[element("targets", "10.96.0.1 . tcp . 443 . 0")] == values("10.0.0.1 . 6443", comment="a/b:c")


def test_all_kinds_of_rules_read_back_as_written(nft: Nft) -> None:
    names = tuple(f"slot-{number}" for number in range(12))
    put: dict[Key, Value] = {chain_key(name): Chain((rule(Drop()),)) for name in names}
    put |= {element("choices", str(number)): Element(f"goto {name}") for number, name in enumerate(names)}
    put[chain_key("every")] = Chain(
        (
            rule(InSet((Field.SOURCE,), "clients"), Goto(names[0])),
            rule(Is(Field.SOURCE, "10.0.0.0/8"), Return(), comment="inside"),
            rule(Is(Field.SOURCE, "10.0.0.0/31", negate=True), Return()),
            rule(Is(Field.SOURCE, "10.0.0.1"), Drop()),
            rule(Is(Field.INTERFACE, "veth*", negate=True), Goto(names[1])),
            rule(Is(Field.INTERFACE, "eth0"), Jump(names[1])),
            rule(IsLocal(Field.SOURCE), SetMark(0x4000)),
            rule(FromElsewhere(), Drop()),
            rule(IsLocal(Field.DESTINATION), Is(Field.DESTINATION, "127.0.0.0/8", negate=True), Return()),
            rule(LacksMark(0x4000), Return()),
            rule(FlipMark(0x4000)),
            rule(Spread(len(names), "choices")),
            rule(Reject()),
        )
    )
    put[chain_key("hide")] = Chain((rule(Translated(), Masquerade()),))
    make(nft, Changes(put=START))
    assert make(nft, Changes(put=put)) == {**START, **put}


def test_all_goes_with_the_table(nft: Nft) -> None:
    make(nft, Changes(put=START))
    assert make(nft, Changes(remove={TABLE: START[TABLE]})) == {}
    assert make(nft, Changes(remove={TABLE: START[TABLE]})) == {}


def test_a_table_is_replaced_whole(nft: Nft) -> None:
    make(nft, Changes(put=START))
    new: dict[Key, Value] = {TABLE: TableSpec("another"), chain_key("only"): Chain((rule(Drop()),))}
    assert make(nft, Changes(new, {TABLE: START[TABLE]})) == new


def test_everything_can_be_removed_at_once(nft: Nft) -> None:
    make(nft, Changes(put=START))
    gone = {key: value for key, value in START.items() if key != TABLE}
    assert make(nft, Changes(remove=gone)) == {TABLE: START[TABLE]}


@pytest.mark.parametrize(
    "changes",
    [
        Changes(put={element("verdicts", "10.96.0.2 . tcp . 1"): Element("goto nowhere")}),
        Changes(put={element("nothing", "10.96.0.2"): Element()}),
        Changes(put={chain_key("lost"): Chain((rule(Goto("nowhere")),))}),
        Changes(put={element("verdicts", "10.96.0.1 . tcp . 443"): Element("drop")}),
        Changes(remove={element("addresses", "10.96.0.77"): Element()}),
        Changes(remove={chain_key("two"): START[chain_key("two")]}),
        Changes(remove={set_key("clients"): START[set_key("clients")]}),
        Changes(remove={chain_key("unknown"): Chain(())}),
    ],
    ids=[
        "no chain",
        "no set",
        "goto nowhere",
        "another value",
        "no element",
        "chain in use",
        "set in use",
        "no such chain",
    ],
)
def test_a_refused_transaction_changes_nothing(nft: Nft, changes: Changes[Key, Value]) -> None:
    make(nft, Changes(put=START))
    good: dict[Key, Value] = {element("addresses", "10.96.0.55"): Element()}
    assert refused(nft, Changes({**changes.put, **good}, changes.remove))
    assert asyncio.run(nft.read(OURS)) == START


def test_an_element_put_twice_is_one(nft: Nft) -> None:
    make(nft, Changes(put=START))
    again = {key: value for key, value in START.items() if key.name == "addresses" and key.element}
    assert make(nft, Changes(put=again)) == START


def test_other_tables_are_left_alone(nft: Nft) -> None:
    make(nft, Changes(put=START))
    other = Table("ip", "neighbour")
    asyncio.run(nft.commit(other, Changes(put={TABLE: TableSpec("theirs")})))
    make(nft, Changes(remove={TABLE: START[TABLE]}))
    assert asyncio.run(nft.read(other)) == {TABLE: TableSpec("theirs")}
