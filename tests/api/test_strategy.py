"""Who writes spec, who writes status, when the generation moves."""

from __future__ import annotations

from clusterip.api import strategy
from clusterip.api.meta import Tree


def made(**more: object) -> Tree:
    return {"kind": "X", "metadata": {"name": "a", "generation": 3}, "spec": {"n": 1}, "status": {"s": 1}, **more}


def test_a_creation_says_nothing_of_the_status() -> None:
    tree = made()
    strategy.first_generation(tree)
    assert "status" not in tree
    assert tree["metadata"]["generation"] == 1


def test_a_changed_spec_is_a_new_generation() -> None:
    new = made(spec={"n": 2}, status={"s": 2})
    strategy.next_generation("spec")(new, made())
    assert new["metadata"]["generation"] == 4
    assert new["status"] == {"s": 1}


def test_the_writer_does_not_move_the_generation() -> None:
    new = made(metadata={"name": "a", "generation": 9})
    strategy.next_generation("spec")(new, made())
    assert new["metadata"]["generation"] == 3


def test_a_status_write_changes_the_status_only() -> None:
    new = made(spec={"n": 2}, status={"s": 2}, metadata={"name": "a", "labels": {"a": "b"}, "annotations": {"c": "d"}})
    strategy.only_status("labels")(new, made())
    assert new["spec"] == {"n": 1}
    assert new["status"] == {"s": 2}
    assert new["metadata"] == {"name": "a", "annotations": {"c": "d"}, "generation": 3}
