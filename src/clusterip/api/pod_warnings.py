"""What a valid pod, or a template of one, is told beside success.

Stage: none; pure.  In: a spec and its path.  Out: sentences, in upstream's words.
Truth: kube-apiserver's api/pod warnings.
"""

from __future__ import annotations

from clusterip.api import quantity
from clusterip.api.address_warnings import address_warning
from clusterip.api.meta import Tree, spec_of
from clusterip.api.pod import all_containers

RENAMED_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
}
SELECTOR = "labelSelector"
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
WHOLE = ("memory", "ephemeral-storage")


def of_pod(new: Tree, old: Tree | None) -> list[str]:
    """A pod is warned when it is made; a change of it changes little."""
    return [] if old is not None else spec_warnings("spec", spec_of(new))


def of_template(new: Tree, old: Tree | None) -> list[str]:
    """A controller of pods is warned of its template, when that is new."""
    template = spec_of(new).get("template") or {}
    if old is not None and spec_of(old).get("template") == template:
        return []
    return spec_warnings("spec.template.spec", spec_of(template))


def spec_warnings(path: str, spec: Tree) -> list[str]:
    found = []
    for label in spec.get("nodeSelector") or ():
        if label in RENAMED_LABELS:
            version, name = RENAMED_LABELS[label]
            found.append(f'{path}.nodeSelector[{label}]: deprecated since {version}; use "{name}" instead')
    found += _without_selector(path, spec) + _without_sources(spec) + _secrets(path, spec)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        words = "must be >= 0; negative values are invalid and will be treated as 1"
        found.append(f"{path}.terminationGracePeriodSeconds: {words}")
    for where, container in all_containers(spec):
        found += _hidden_variables(f"{path}.{where}.env", container)
        found += _fractions(f"{path}.{where}.resources", container.get("resources") or {})
    return found + _addresses(path, spec)


def _secrets(path: str, spec: Tree) -> list[str]:
    """Secrets for images, that have no name or are named twice."""
    names = [secret.get("name") or "" for secret in spec.get("imagePullSecrets") or ()]
    found = []
    for index, name in enumerate(names):
        where = f"{path}.imagePullSecrets[{index}].name"
        found += [f'{where}: duplicate name "{name}"'] if name and name in names[:index] else []
        found += [] if name else [f'{where}: invalid empty name ""']
    return found


def _without_selector(path: str, spec: Tree) -> list[str]:
    """Wishes about other pods that mean none."""
    spreads = enumerate(spec.get("topologySpreadConstraints") or ())
    found = [f"{path}.topologySpreadConstraints[{index}]" for index, each in spreads if each.get(SELECTOR) is None]
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = (spec.get("affinity") or {}).get(kind) or {}
        for index, term in enumerate(terms.get(REQUIRED) or ()):
            found += [f"{path}.affinity.{kind}.{REQUIRED}[{index}]"] if term.get(SELECTOR) is None else []
        for index, term in enumerate(terms.get(PREFERRED) or ()):
            where = f"{path}.affinity.{kind}.{PREFERRED}[{index}].podAffinityTerm"
            found += [where] if (term.get("podAffinityTerm") or {}).get(SELECTOR) is None else []
    return [f"{where}.{SELECTOR}: a null labelSelector results in matching no pod" for where in found]


def _without_sources(spec: Tree) -> list[str]:
    projected = [(volume.get("name"), volume.get("projected") or {}) for volume in spec.get("volumes") or ()]
    return [
        f'volume "{name}" (Projected) has no sources provided'
        for name, source in projected
        for part in source.get("sources") or ()
        if not any(value is not None for value in part.values())
    ]


def _addresses(path: str, spec: Tree) -> list[str]:
    """Servers of names and further hosts, written in an odd way."""
    servers = (spec.get("dnsConfig") or {}).get("nameservers") or ()
    pairs = [(f"{path}.dnsConfig.nameservers[{index}]", text) for index, text in enumerate(servers)]
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        pairs.append((f"{path}.hostAliases[{index}].ip", alias.get("ip") or ""))
    return [text for where, value in pairs for text in address_warning(where, value)]


def _hidden_variables(path: str, container: Tree) -> list[str]:
    found = []
    seen: set[str] = set()
    for index, variable in enumerate(container.get("env") or ()):
        name = variable.get("name") or ""
        if name in seen:
            words = f'hides previous definition of "{name}", which may be dropped when using apply'
            found.append(f"{path}[{index}]: {words}")
        seen.add(name)
    return found


def _fractions(path: str, resources: Tree) -> list[str]:
    """Bytes are counted in whole ones."""
    found = []
    for kind in ("limits", "requests"):
        for name, text in (resources.get(kind) or {}).items():
            amount = quantity.amount(text)
            if name in WHOLE and amount != amount.to_integral_value():
                words = f'fractional byte value "{text}" is invalid, must be an integer'
                found.append(f"{path}.{kind}[{name}]: {words}")
    return found
