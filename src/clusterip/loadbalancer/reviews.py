"""What the validating webhooks answer.

Stage: plan.  In: an AdmissionReview, the objects that are there.  Out: the AdmissionReview that answers it.
Rules: pure.  A write is judged together with what it touches, not with all: what is wrong elsewhere stops nobody.
Truth: MetalLB 0.16's webhooks; admission.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from clusterip.api.meta import Tree, name_of, namespace_of, spec_of
from clusterip.api.metallb import ConfigError, Resources
from clusterip.api.metallb_config import Rule, judge

Present = Mapping[str, tuple[Tree, ...]]  # field of Resources -> what is there


class Webhook(NamedTuple):
    """One path: whose writes it judges, and beside what."""

    field: str
    beside: tuple[str, ...] = ()


WEBHOOKS: dict[str, Webhook] = {
    "/validate-metallb-io-v1beta1-ipaddresspool": Webhook("pools"),
    "/validate-metallb-io-v1beta1-l2advertisement": Webhook("l2"),
    "/validate-metallb-io-v1beta1-bgpadvertisement": Webhook("bgp", ("pools", "nodes")),
    "/validate-metallb-io-v1beta1-community": Webhook("communities"),
    "/validate-metallb-io-v1beta1-bfdprofile": Webhook("profiles", ("peers",)),
    "/validate-metallb-io-v1beta2-bgppeer": Webhook("peers", ("nodes",)),
}
DISABLE_MP = "disable mp is deprecated and has no effect since it's the default behavior now"


def answer(webhook: Webhook, review: Tree, present: Present, namespace: str, rule: Rule) -> Tree:
    """The review answered."""
    request = review.get("request") or {}
    found: Tree = {"uid": request.get("uid", ""), "allowed": True}
    try:
        _judge(webhook, request, present, namespace, rule)
    except ConfigError as error:
        found["allowed"] = False
        found["status"] = {"code": 403, "reason": "Forbidden", "message": str(error)}
    if webhook.field == "peers" and spec_of(request.get("object") or {}).get("disableMP"):
        found["warnings"] = [DISABLE_MP]
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": found}


def _judge(webhook: Webhook, request: Tree, present: Present, namespace: str, rule: Rule) -> None:
    operation, new = request.get("operation"), request.get("object") or {}
    if operation == "DELETE":
        _check_deletion(webhook, request.get("oldObject") or {}, present)
        return
    if operation == "CREATE" and (namespace_of(new) or request.get("namespace")) != namespace:
        raise ConfigError(f"resource must be created in {namespace} namespace")
    trees = {field: present[field] for field in webhook.beside if webhook.field != "profiles"}
    others = (tree for tree in present[webhook.field] if name_of(tree) != name_of(new))
    judge(Resources(**{**trees, webhook.field: (*others, new)}), _alone(rule, webhook))


def _alone(rule: Rule, webhook: Webhook) -> Rule:
    """Profiles are judged for themselves: whether they may be used at all is not asked of their writer."""
    return (lambda _: None) if webhook.field == "profiles" else rule


def _check_deletion(webhook: Webhook, old: Tree, present: Present) -> None:
    users = _users(name_of(old), present.get("peers", ())) if webhook.field == "profiles" else []
    if users:
        raise ConfigError(f"failed to delete BFDProfile {name_of(old)}, used by BGPPeer {users[0]}")


def _users(profile: str, peers: Iterable[Tree]) -> list[str]:
    return [name_of(peer) for peer in peers if spec_of(peer).get("bfdProfile") == profile]


def needed(webhook: Webhook) -> tuple[str, ...]:
    """What has to be asked of the API to judge a write."""
    return (webhook.field, *webhook.beside)
