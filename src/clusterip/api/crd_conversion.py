"""How CustomResourceDefinitions say that versions are converted, judged.

Stage: none; pure.  In: a definition's `spec.conversion`.  Out: field errors in upstream's words.
Rules: places are told as upstream's inner form has them: spec.conversion.webhookClientConfig.
Truth: apiextensions-apiserver, pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from typing import Final

from clusterip.api import webhook_clients
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree

STRATEGIES: Final = ("None", "Webhook")
NOT_ASKED: Final = "should not be set when strategy is not set to Webhook"
REVIEW_VERSIONS: Final = ("v1", "v1beta1")


def errors(conversion: Tree, *, needs_bundle: bool = False) -> list[FieldError]:
    """`needs_bundle`: the definition is established, and its authorities were good."""
    path, strategy = "spec.conversion", conversion.get("strategy") or ""
    if not strategy:
        return [required(f"{path}.strategy")]
    if strategy not in STRATEGIES:
        return [not_supported(f"{path}.strategy", strategy, STRATEGIES)]
    webhook = conversion.get("webhook") or {}
    if strategy == "None":
        names = {"clientConfig": "webhookClientConfig", "conversionReviewVersions": "conversionReviewVersions"}
        return [forbidden(f"{path}.{name}", NOT_ASKED) for field, name in names.items() if webhook.get(field)]
    return _webhook(path, webhook, needs_bundle=needs_bundle)


def _webhook(path: str, webhook: Tree, *, needs_bundle: bool) -> list[FieldError]:
    client, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    found: list[FieldError] = []
    if client is None:
        found.append(required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook"))
    else:
        found += webhook_clients.errors(f"{path}.webhookClientConfig", client)
        found += webhook_clients.bundle_errors(f"{path}.webhookClientConfig", client) if needs_bundle else []
    if not versions:
        found.append(required(f"{path}.conversionReviewVersions"))
    elif not set(versions) & set(REVIEW_VERSIONS):
        text = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
        found.append(invalid(f"{path}.conversionReviewVersions", versions, text))
    for index, version in enumerate(versions):
        if version in versions[:index]:
            found.append(invalid(f"{path}.conversionReviewVersions[{index}]", version, "duplicate version"))
    return found


def has_bundle(tree: Tree) -> bool:
    """Whether the authorities of a definition's webhook can be read; nobody can be asked by it otherwise."""
    client = ((tree.get("spec") or {}).get("conversion") or {}).get("webhook") or {}
    return webhook_clients.is_bundle((client.get("clientConfig") or {}).get("caBundle") or "")
