"""What a workload manages: its own, and orphans that its selector matches."""

from __future__ import annotations

import pytest

from clusterip.api.selectors import from_label_selector
from clusterip.client.names import PODS, REPLICA_SETS
from clusterip.controllers.model import Meta, Owner, Partial
from clusterip.controllers.ownership import claim

SELECTOR = from_label_selector({"matchLabels": {"app": "web"}})
OWNER = Meta("rs", "default", "u1")
MINE = Owner("apps/v1", "ReplicaSet", "rs", "u1", controller=True)
OTHERS = Owner("apps/v1", "ReplicaSet", "other", "u2", controller=True)
PLAIN = Owner("v1", "ConfigMap", "c", "u3")


def pod(app: str, *owners: Owner, deleted: str | None = None) -> Partial:
    return Partial(Meta("p", "default", "p1", labels={"app": app}, owner_references=owners, deletion_timestamp=deleted))


@pytest.mark.parametrize(
    ("item", "is_mine", "owners"),
    [
        (pod("web", MINE), True, None),
        (pod("db", MINE, PLAIN), False, ["c"]),  # released, its other owner stays
        (pod("web", OTHERS), False, None),
        (pod("web", PLAIN), False, ["c", "rs"]),  # adopted
        (pod("db"), False, None),
        (pod("web", deleted="2026-01-01T00:00:00Z"), False, None),
    ],
)
def test_one_item(item: Partial, is_mine: bool, owners: list[str] | None) -> None:
    found = claim(REPLICA_SETS, OWNER, SELECTOR, PODS, [item])
    assert found.mine == ((item,) if is_mine else ())
    patched = [[owner["name"] for owner in each.patch["metadata"]["ownerReferences"]] for each in found.patches]
    assert patched == ([owners] if owners else [])
    assert all(each.patch["metadata"]["uid"] == "p1" for each in found.patches)


def test_an_owner_that_goes_adopts_and_releases_nothing() -> None:
    going = Meta("rs", "default", "u1", deletion_timestamp="2026-01-01T00:00:00Z")
    assert claim(REPLICA_SETS, going, SELECTOR, PODS, [pod("web"), pod("db", MINE)]).patches == ()
