"""BGPPeer between v1beta1 and v1beta2, as the conversion webhook answers it.

Stage: none; pure.  In: a ConversionReview's request.  Out: its response; what one version lacks is dropped.
Truth: MetalLB 0.16; apiextensions.k8s.io/v1 ConversionReview.
"""

from __future__ import annotations

from clusterip.api.errors import quoted
from clusterip.api.meta import Tree
from clusterip.api.metallb import GROUP

OLD, NEW = f"{GROUP}/v1beta1", f"{GROUP}/v1beta2"
SHARED = (
    *("myASN", "peerASN", "peerAddress", "sourceAddress", "peerPort", "holdTime", "keepaliveTime"),
    *("routerID", "password", "bfdProfile", "ebgpMultiHop"),
)


def convert_review(review: Tree) -> Tree:
    """The answer to a ConversionReview, whole."""
    request = review.get("request") or {}
    wanted = request.get("desiredAPIVersion", "")
    try:
        objects = [convert_peer(tree, wanted) for tree in request.get("objects") or ()]
        response = {"convertedObjects": objects, "result": {"status": "Success"}}
    except (ValueError, TypeError, AttributeError) as error:
        response = {"convertedObjects": [], "result": {"status": "Failure", "message": str(error)}}
    head: Tree = {key: review[key] for key in ("apiVersion", "kind") if key in review}
    return {**head, "response": {"uid": request.get("uid", ""), **response}}


def convert_peer(tree: Tree, wanted: str) -> Tree:
    """The BGPPeer in the wanted version; ValueError when it is none of both."""
    if wanted == tree.get("apiVersion"):
        return tree
    if {wanted, tree.get("apiVersion")} != {OLD, NEW}:
        raise ValueError(f"cannot convert {quoted(str(tree.get('apiVersion')))} to {quoted(wanted)}")
    old = tree.get("spec") or {}
    spec = {field: old[field] for field in SHARED if old.get(field) is not None}
    if wanted == OLD:
        spec = {"holdTime": "0s", "keepaliveTime": "0s"} | spec
    if old.get("nodeSelectors"):
        spec["nodeSelectors"] = [_selector(each, wanted) for each in old["nodeSelectors"]]
    return {**tree, "apiVersion": wanted, "spec": spec}


def _selector(tree: Tree, wanted: str) -> Tree:
    """A selector; the older version has no operator without values."""
    found: Tree = {}
    if tree.get("matchLabels"):
        found["matchLabels"] = dict(tree["matchLabels"])
    expressions = [
        {**each, "values": list(each.get("values") or ())} if wanted == OLD else dict(each)
        for each in tree.get("matchExpressions") or ()
    ]
    return found | ({"matchExpressions": expressions} if expressions else {})
