"""Which iptables is in use here: the one over nf_tables or the legacy one.

Stage: read.  In: what both variants' tables hold.  Out: "nft" or "legacy".
Rules: two variants side by side see and block each other's packets but not each other's rules, so that a proxy must use
the one that the host uses: our own or a kubelet's chain tells it, else the larger number of rules, else the default.
Truth: kubernetes-sigs/iptables-wrappers; KEP-3178 (KUBE-IPTABLES-HINT).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clusterip.kernel.iptables import LEGACY, NFT, IptablesError, KernelIptables
from clusterip.kernel.iptables_listing import parse

HINTS = frozenset({"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY", "KUBE-PROXY-CANARY"})
NAMES = Path("/proc/thread-self/net")
PATIENCE_SECONDS = 5.0  # nf_tables can be large; then it is in use


def choose(rules: Mapping[str, int], default: str) -> str:
    """The variant with more rules."""
    nft, legacy = rules.get(NFT, 0), rules.get(LEGACY, 0)
    if nft == legacy:
        return default
    return NFT if nft > legacy else LEGACY


async def detect_variant() -> str:
    """The variant in use in this network namespace; where only one is installed, that one."""
    if await _has_hint(NFT):
        return NFT
    default = await _default()
    if not _has_legacy_tables():
        return default
    rules: dict[str, int] = {}
    for variant in (LEGACY, NFT):
        texts = [await _saved(family, variant) for family in (4, 6)]
        if any(chain in HINTS for text in texts for _, chain in parse(text).rules):
            return variant
        rules[variant] = sum(text.count("\n-A ") for text in texts)
    return choose(rules, default)


def _has_legacy_tables() -> bool:
    """Whether the legacy variant was ever used in this namespace; it may have been where we must not look."""
    try:
        return any((NAMES / f"{name}_tables_names").read_text() for name in ("ip", "ip6"))
    except FileNotFoundError:
        return False
    except OSError:
        return True


async def _has_hint(variant: str) -> bool:
    """Asked of the mangle table alone: the others may be large."""
    texts = [await _saved(family, variant, "mangle") for family in (4, 6)]
    return any(chain in HINTS for text in texts for _, chain in parse(text).rules)


async def _saved(family: int, variant: str, table: str = "") -> str:
    """The legacy variant is only asked for everything: naming a table that it has not makes it."""
    try:
        return await KernelIptables(family, variant, PATIENCE_SECONDS).save(table)
    except IptablesError:
        return ""


async def _default() -> str:
    """What the plain name leads to; when it leads nowhere, the variant that is installed."""
    try:
        version = await KernelIptables(4).ask("--version")
    except IptablesError:
        return NFT
    return LEGACY if "legacy" in version else NFT
