"""A DaemonSet's revisions: found by what they restore, whoever made them."""

from __future__ import annotations

import msgspec
import orjson

from clusterip.controllers.model_workloads import ControllerRevision, DaemonSet
from clusterip.controllers.revisions import HASH_LABEL, history, restoring
from clusterip.controllers.writes import Create, Delete, Patch


def template(image: str) -> dict[str, object]:
    return {"spec": {"containers": [{"name": "c", "image": image}]}, "metadata": {"labels": {"a": "b"}}}


def daemon(image: str, limit: int = 10) -> DaemonSet:
    spec = {"template": template(image), "revisionHistoryLimit": limit}
    return msgspec.convert({"metadata": {"name": "d", "namespace": "ns", "uid": "u"}, "spec": spec}, DaemonSet)


def revision(name: str, number: int, image: str, hash: str) -> ControllerRevision:
    meta = {"name": name, "namespace": "ns", "uid": name, "labels": {HASH_LABEL: hash}}
    tree = {"metadata": meta, "data": restoring(template(image)), "revision": number}
    return msgspec.convert(tree, ControllerRevision)


def test_the_first_revision() -> None:
    found = history(daemon("x"), [], ())
    (made,) = found.writes
    assert isinstance(made, Create)
    assert (made.tree["metadata"]["name"], made.tree["revision"]) == (f"d-{found.hash}", 1)


def test_what_is_kept_is_text_that_clients_can_compare() -> None:
    text = orjson.dumps(restoring(template("x"))).decode()
    assert text == (
        '{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"a":"b"}},'
        '"spec":{"containers":[{"image":"x","name":"c"}]}}}}'
    )


def test_a_revision_that_somebody_else_made_counts() -> None:
    found = history(daemon("x"), [revision("theirs", 2, "x", "h")], ("h",))
    assert (found.hash, found.writes) == ("h", ())


def test_a_former_template_comes_back_with_the_highest_number() -> None:
    known = [revision("one", 1, "x", "h1"), revision("two", 2, "y", "h2")]
    (raised,) = history(daemon("x"), known, ("h1", "h2")).writes
    assert isinstance(raised, Patch)
    assert (raised.name, raised.patch) == ("one", {"revision": 3})


def test_a_name_that_another_template_has_is_not_taken() -> None:
    first = history(daemon("x"), [], ()).hash
    found = history(daemon("x"), [revision(f"d-{first}", 1, "y", first)], ())
    (made,) = found.writes
    assert isinstance(made, Create)
    assert (found.hash != first, found.collisions) == (True, 1)
    assert made.tree["metadata"]["name"] == f"d-{found.hash}"


def test_the_oldest_that_nobody_has_go() -> None:
    known = [revision("one", 1, "w", "h1"), revision("two", 2, "y", "h2"), revision("three", 3, "x", "h3")]
    (gone,) = history(daemon("x", limit=0), known, ("h2", "h3")).writes
    assert isinstance(gone, Delete)
    assert gone.name == "one"
