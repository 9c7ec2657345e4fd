"""Who goes, who stays, who waits."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from clusterip.client.names import CONFIG_MAPS, PODS, SECRETS
from clusterip.controllers import namespace
from clusterip.controllers.garbage import FOREGROUND, ORPHAN, Fate, Item, reconcile
from clusterip.controllers.model import Meta, Namespace
from clusterip.controllers.writes import Delete, DeleteAll, Patch


def item(name="x", owners=(), finalizers=(), deleted=False, ref=PODS):
    tree = {
        "name": name,
        "namespace": "ns",
        "uid": name,
        "resourceVersion": "1",
        "finalizers": list(finalizers),
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": blocks}
            for uid, blocks in owners
        ],
    }
    if deleted:
        tree["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return Item(ref, msgspec.convert(tree, Meta))


def look(found, dependents=(), **fates):
    return reconcile(found, dependents, lambda owner: Fate[fates[owner.uid]]).writes


def test_without_owners_nothing_happens():
    assert look(item()) == ()


def test_an_owner_that_is_there():
    assert look(item(owners=[("a", True)]), a="PRESENT") == ()


def test_the_last_owner_is_gone():
    (write,) = look(item(owners=[("a", True), ("b", True)]), a="GONE", b="GONE")
    assert isinstance(write, Delete)
    assert (write.propagation, write.uid) == ("Background", "x")


def test_one_owner_is_left():
    (write,) = look(item(owners=[("a", True), ("b", True)]), a="GONE", b="PRESENT")
    assert isinstance(write, Patch)
    assert [owner["uid"] for owner in write.patch["metadata"]["ownerReferences"]] == ["b"]


@pytest.mark.parametrize(("dependents", "policy"), [((), "Background"), ((item("d"),), "Foreground")])
def test_an_owner_that_waits_takes_the_tree_along(dependents, policy):
    (write,) = look(item(owners=[("a", True)]), dependents, a="WAITING")
    assert write.propagation == policy


def test_a_waiting_owner_goes_when_nobody_blocks_it():
    owner = item("a", finalizers=["keep", FOREGROUND], deleted=True, ref=CONFIG_MAPS)
    assert look(owner, [item(owners=[("a", True)])]) == ()
    (write,) = look(owner, [item(owners=[("a", False)])])
    assert write.patch["metadata"]["finalizers"] == ["keep"]


def test_an_orphaning_owner_goes_when_nobody_names_it():
    owner = item("a", finalizers=[ORPHAN], deleted=True, ref=CONFIG_MAPS)
    (write,) = look(owner, [item(owners=[("a", True)])])
    assert (write.name, write.patch["metadata"]["ownerReferences"], write.free) == ("x", None, True)
    (write,) = look(owner)
    assert (write.name, write.patch["metadata"]["finalizers"]) == ("a", None)


def test_a_circle_is_opened():
    waits = item("c", owners=[("b", True)], finalizers=[FOREGROUND], deleted=True)
    patch, delete = look(item("b", owners=[("a", True)]), [waits], a="WAITING")
    assert [owner["blockOwnerDeletion"] for owner in patch.patch["metadata"]["ownerReferences"]] == [False]
    assert (delete.name, delete.propagation) == ("b", "Foreground")


def test_pods_of_a_namespace_go_before_what_they_need():
    now = datetime(2026, 1, 2, tzinfo=UTC)
    going = msgspec.convert({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, Namespace)
    there = {CONFIG_MAPS: [Meta(name="c")], PODS: [Meta(name="p")]}
    (only,) = namespace.reconcile(going, there, [SECRETS], now).writes
    assert only == DeleteAll(PODS, "x")
    others = namespace.reconcile(going, {CONFIG_MAPS: [Meta(name="c")]}, [SECRETS], now).writes
    assert others == (DeleteAll(CONFIG_MAPS, "x"), DeleteAll(SECRETS, "x"))
