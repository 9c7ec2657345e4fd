"""What iptables promises, held by the fake and by both variants of the kernel's alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from clusterip.diff import Changes, diff, patched
from clusterip.kernel.iptables import FIRST, LAST, ChainKey, IptablesError, JumpKey, Key, Value
from kernel.iptables_places import PLACES, Place, commit, is_test_chain, place, state

SERVICES, ONE, TWO = ChainKey("nat", "TEST-SERVICES"), ChainKey("nat", "TEST-ONE"), ChainKey("nat", "TEST-TWO")
INTO = JumpKey("nat", "PREROUTING", '-m comment --comment "test portals" -j TEST-SERVICES')
ALSO_INTO = JumpKey("nat", "OUTPUT", "-p tcp -j TEST-SERVICES")


def to(address: str, chain: str) -> str:
    return f'-d {address}/32 -p tcp -m comment --comment "a/b cluster IP" -m tcp --dport 80 -j {chain}'


START: Mapping[Key, Value] = {
    ONE: ("-s 10.0.0.1/32 -j MARK --set-xmark 0x4000/0x4000", "-p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80"),
    SERVICES: (to("10.96.0.1", "TEST-ONE"),),
    ChainKey("filter", "TEST-FORWARD"): ("-m conntrack --ctstate INVALID -j DROP",),
    ChainKey("mangle", "TEST-CANARY"): (),
    INTO: FIRST,
    ALSO_INTO: FIRST,
}


@pytest.fixture(params=PLACES)
def found(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place(request.param) as made:
        commit(made, Changes(START))
        yield made


def change(found: Place, wanted: Mapping[Key, Value]) -> None:
    """Bring the place to the wanted state by a diff, and see that it is there."""
    commit(found, diff(state(found), wanted))
    assert state(found) == wanted


def test_what_is_put_is_read(found: Place) -> None:
    assert state(found) == START


def test_chains_come_change_and_go(found: Place) -> None:
    changed = {TWO: ("-j ACCEPT",), SERVICES: (to("10.96.0.2", "TEST-TWO"), to("10.96.0.1", "TEST-ONE"))}
    change(found, {**START, **changed})
    change(found, START)
    change(found, {SERVICES: (), INTO: FIRST})
    change(found, {})


def test_a_chain_goes_in_the_commit_in_which_nothing_leads_to_it_any_more(found: Place) -> None:
    commit(found, Changes({SERVICES: ()}, {SERVICES: START[SERVICES], ONE: START[ONE]}))
    assert ONE not in state(found)


def test_a_chain_that_something_leads_to_does_not_go(found: Place) -> None:
    with pytest.raises(IptablesError):
        commit(found, Changes(remove={ONE: START[ONE]}))
    assert state(found) == START


def test_a_rule_that_leads_nowhere_is_refused_and_quoted(found: Place) -> None:
    wrong = to("10.96.0.3", "TEST-NONE")
    with pytest.raises(IptablesError, match="TEST-NONE") as caught:
        commit(found, Changes({TWO: ("-j ACCEPT", wrong)}))
    assert caught.value.rule == f"-A TEST-TWO {wrong}"
    assert state(found) == START


def test_a_refused_table_leaves_itself_alone_but_not_those_before(found: Place) -> None:
    extra = ChainKey("filter", "TEST-EXTRA")
    with pytest.raises(IptablesError):
        commit(found, Changes({extra: (), TWO: (to("10.96.0.3", "TEST-NONE"),)}))
    assert state(found) == {**START, extra: ()}


def test_stages_are_made_in_their_order(found: Place) -> None:
    key = ChainKey("filter", "TEST-FORWARD")
    wide, narrow = ("-p udp -j DROP", "-p tcp -j DROP"), ("-p tcp -j DROP",)
    commit(found, Changes({key: wide}, {key: START[key]}), Changes({TWO: ()}), Changes({key: narrow}, {key: wide}))
    assert state(found) == {**START, key: narrow, TWO: ()}


def test_jumps_stand_first_in_their_order_or_last(found: Place) -> None:
    foreign = JumpKey("nat", "PREROUTING", "-p udp -j ACCEPT")
    jumps = [JumpKey("nat", "PREROUTING", f"-p {name} -j TEST-SERVICES") for name in ("tcp", "udp", "sctp")]
    commit(found, Changes({foreign: LAST}))
    commit(found, Changes({jumps[0]: FIRST, jumps[1]: FIRST, jumps[2]: LAST}))
    listed = found.run(listing(found))
    assert listed == [jumps[0].rule, jumps[1].rule, INTO.rule, foreign.rule, jumps[2].rule]
    assert foreign not in state(found)


async def listing(found: Place) -> list[str]:
    """The rules of nat PREROUTING."""
    made = found.iptables.listing()
    return (made if not hasattr(made, "__await__") else await made).rules["nat", "PREROUTING"]


def test_a_long_chain_is_edited_in_place(found: Place) -> None:
    lines = [to(f"10.96.1.{number}", "TEST-ONE") for number in range(1, 201)]
    change(found, {**START, SERVICES: tuple(lines)})
    changed = [line for line in lines if ".13/" not in line and ".77/" not in line]
    changed.insert(0, to("10.97.0.1", "TEST-ONE"))
    changed.insert(50, to("10.97.0.2", "TEST-ONE"))
    changed.append(to("10.97.0.3", "TEST-ONE"))
    change(found, {**START, SERVICES: tuple(changed)})
    change(found, {**START, SERVICES: tuple(reversed(changed))})


def test_an_edit_of_a_chain_that_others_changed_fails_and_does_no_harm(found: Place) -> None:
    lines = tuple(to(f"10.96.1.{number}", "TEST-ONE") for number in range(1, 201))
    change(found, {**START, SERVICES: lines})
    believed = (*lines[:100], to("10.99.0.1", "TEST-ONE"), *lines[100:])
    with pytest.raises(IptablesError):
        commit(found, Changes({SERVICES: lines}, {SERVICES: believed}))
    assert state(found) == {**START, SERVICES: lines}


def test_what_is_missing_is_told(found: Place) -> None:
    gone = JumpKey("nat", "POSTROUTING", "-j TEST-SERVICES")
    keys = [*START, TWO, gone]
    assert found.run(found.iptables.missing(keys)) == [TWO, gone]


def test_changes_may_be_made_one_by_one(found: Place) -> None:
    wanted = {**START, TWO: ("-j ACCEPT",)}
    before = state(found)
    for key in wanted:
        step = Changes({key: wanted[key]}, {key: before[key]} if key in before else {})
        commit(found, step)
        before = patched(before, step)
    assert {key for key in state(found) if is_test_chain(key[0], key[1])} == {
        key for key in wanted if isinstance(key, ChainKey)
    }
