"""Which iptables is in use here: the one over nf_tables or the legacy one.

Stage: read.  In: what both variants' tables hold.  Out: "nft" or "legacy".
Rules: two variants side by side see and block each other's packets but not each other's rules, so that a proxy must use
the one that the host uses: our own or a kubelet's chain tells it, else the larger number of rules, else the default.
Truth: kubernetes-sigs/iptables-wrappers; KEP-3178 (KUBE-IPTABLES-HINT).
"""

from __future__ import annotations

from collections.abc import Mapping

from clusterip.kernel.iptables import LEGACY, NFT, IptablesError, KernelIptables

HINTS = frozenset({"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY", "KUBE-PROXY-CANARY"})
PATIENCE_SECONDS = 5.0  # nf_tables can be large; then it is in use


def choose(hints: Mapping[str, bool], rules: Mapping[str, int], default: str) -> str:
    """The variant, by who has a hint, then by who has more rules."""
    for variant in (NFT, LEGACY):
        if hints.get(variant):
            return variant
    nft, legacy = rules.get(NFT, 0), rules.get(LEGACY, 0)
    if nft == legacy:
        return default
    return NFT if nft > legacy else LEGACY


async def detect_variant() -> str:
    """The variant in use in this network namespace; where only one is installed, that one."""
    hints = {NFT: await _has_hint(NFT)}
    if not hints[NFT]:
        hints[LEGACY] = await _has_hint(LEGACY)
    rules = {} if any(hints.values()) else {variant: await _count(variant) for variant in (NFT, LEGACY)}
    return choose(hints, rules, await _default())


async def _has_hint(variant: str) -> bool:
    for family in (4, 6):
        try:
            listing = await KernelIptables(family, variant).listing("mangle")
        except IptablesError:
            continue
        if any(chain in HINTS for _, chain in listing.rules):
            return True
    return False


async def _count(variant: str) -> int:
    count = 0
    for family in (4, 6):
        try:
            text = await KernelIptables(family, variant, PATIENCE_SECONDS).save()
        except IptablesError:
            continue
        count += text.count("\n-A ")
    return count


async def _default() -> str:
    """What the plain name leads to; when it leads nowhere, the variant that is installed."""
    try:
        version = await KernelIptables(4).ask("--version")
    except IptablesError:
        return NFT
    return LEGACY if "legacy" in version else NFT
