"""Every choice of a walk is taken once, also when what is asked later depends on what was chosen before."""

from __future__ import annotations

from ipaddress import ip_address

from clusterip.kernel.first_packet import Ending, Fate, Packet, Pick, every_ending

HERE, THERE = ip_address("10.0.0.1"), ip_address("10.0.0.2")


def ending(*chosen: int) -> Ending:
    return Ending(Fate.PASSED, Packet(HERE, THERE, "tcp", sum(n * 10**i for i, n in enumerate(chosen))))


def test_without_a_choice_there_is_one_ending() -> None:
    assert every_ending(lambda pick: ending()) == {ending()}


def test_every_combination_is_walked_once() -> None:
    walked: list[tuple[int, ...]] = []

    def walk(pick: Pick) -> Ending:
        first = pick(2)
        chosen = (first, pick(3)) if first else (first,)  # the second question comes after one answer only
        walked.append(chosen)
        return ending(*chosen)

    assert every_ending(walk) == {ending(0), ending(1, 0), ending(1, 1), ending(1, 2)}
    assert walked == [(0,), (1, 0), (1, 1), (1, 2)]
