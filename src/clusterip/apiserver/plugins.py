"""The admission plugins by upstream's names: which there are, which are on, and what a user may turn on or off.

Stage: none; a table.  In: lists of names.  Out: the names that are on; ValueError for a name that is none.
Limits: those of ABSENT are known and do nothing here.
Truth: kube-apiserver's pkg/kubeapiserver/options/plugins.go of 1.36.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

USUAL: Final = frozenset(
    {
        "NamespaceLifecycle",
        "LimitRanger",
        "ServiceAccount",
        "NodeRestriction",  # not among upstream's own defaults; every installer turns it on
        "TaintNodesByCondition",  # the Node's own record does it: it cannot be turned off
        "PodSecurity",
        "Priority",
        "DefaultTolerationSeconds",
        "DefaultStorageClass",
        "PersistentVolumeClaimResize",
        "RuntimeClass",
        "CertificateApproval",
        "CertificateSigning",
        "CertificateSubjectRestriction",
        "DefaultIngressClass",
        "PodTopologyLabels",
        "StorageObjectInUseProtection",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionWebhook",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionWebhook",
        "ResourceQuota",
    }
)
FURTHER: Final = frozenset({"AlwaysAdmit", "AlwaysPullImages", "AlwaysDeny", "DenyServiceExternalIPs"})
"""What is here and off."""
ABSENT: Final = frozenset(
    {
        "ClusterTrustBundleAttest",
        "EventRateLimit",
        "ExtendedResourceToleration",
        "ImagePolicyWebhook",
        "LimitPodHardAntiAffinityTopology",
        "NamespaceAutoProvision",
        "NamespaceExists",
        "NodeDeclaredFeatureValidator",
        "OwnerReferencesPermissionEnforcement",
        "PodNodeSelector",
        "PodTolerationRestriction",
    }
)


def chosen(enable: str, disable: str) -> frozenset[str]:
    """The plugins that are on after two lists with commas."""
    on, off = _names(enable), _names(disable)
    for name in (*on, *off):
        if name not in USUAL | FURTHER | ABSENT:
            raise ValueError(f"admission plugin {name!r} is unknown")
    both = sorted(set(on) & set(off))
    if both:
        raise ValueError(f"{both} in enable-admission-plugins and disable-admission-plugins overlapped")
    return (USUAL | set(on)) - set(off)


def without_effect(enabled: Iterable[str]) -> list[str]:
    """Those that are asked for and do nothing here."""
    return sorted(set(enabled) & ABSENT)


def _names(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
