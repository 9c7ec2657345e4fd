"""Which webhooks a request concerns: rules, match policy, selectors.

Stage: decide; pure.  In: configurations as trees, a Subject.  Out: hooks, each with the version that it wants to see.
Rules: configurations in the order of their names, their hooks in the order given; the configurations themselves are
       never shown to a webhook.
Truth: apiserver's pkg/admission/plugin/webhook: predicates/{rules,namespace,object}, generic/webhook.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clusterip.api.meta import Tree, labels_of, name_of
from clusterip.api.selectors import LabelSelector, from_label_selector

EXEMPT = frozenset(
    {
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    }
)
ADMISSION = "admissionregistration.k8s.io"
ANY = "*"
SECONDS = 10


@dataclass(frozen=True, slots=True)
class Where:
    """A resource in one version."""

    group: str
    version: str
    plural: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request does to what."""

    operation: str
    where: Where
    subresource: str
    namespace: str
    new: Tree | None
    old: Tree | None
    equivalents: tuple[Where, ...] = ()
    """The same objects in other versions or groups."""


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """One webhook of a configuration."""

    name: str
    number: int
    tree: Tree
    namespaces: LabelSelector
    objects: LabelSelector
    configuration: str = ""

    @property
    def ignores_failure(self) -> bool:
        return self.tree.get("failurePolicy") == "Ignore"

    @property
    def seconds(self) -> float:
        return float(self.tree.get("timeoutSeconds") or SECONDS)

    @property
    def is_harmless(self) -> bool:
        """Whether a dry run may ask it."""
        return self.tree.get("sideEffects") in ("None", "NoneOnDryRun")

    @property
    def wants_more(self) -> bool:
        """Asked again when others changed the object after it."""
        return self.tree.get("reinvocationPolicy") == "IfNeeded"


def hooks_of(configurations: Iterable[Tree]) -> tuple[Hook, ...]:
    """All webhooks, in the order in which they are asked."""
    by_name = sorted(configurations, key=name_of)
    listed = [(hook, name_of(tree)) for tree in by_name for hook in tree.get("webhooks") or ()]
    return tuple(hook_of(number, *each) for number, each in enumerate(listed))


def hook_of(number: int, tree: Tree, configuration: str = "") -> Hook:
    namespaces, objects = (_selector(tree.get(field)) for field in ("namespaceSelector", "objectSelector"))
    return Hook(tree.get("name") or "", number, tree, namespaces, objects, configuration)


def _selector(tree: Tree | None) -> LabelSelector:
    try:
        return from_label_selector(tree or {})
    except ValueError:
        return LabelSelector(nothing=True)


def wanted(hook: Hook, subject: Subject, namespace_labels: Callable[[str], Mapping[str, str]]) -> Where | None:
    """The version in which the hook is to see the subject; None: it is none of its business."""
    if subject.where.group == ADMISSION and subject.where.plural in EXEMPT:
        return None
    where = _by_rules(hook, subject)
    if where is None or not _in_namespace(hook.namespaces, subject, namespace_labels):
        return None
    return where if _of_objects(hook.objects, subject) else None


def _by_rules(hook: Hook, subject: Subject) -> Where | None:
    rules = hook.tree.get("rules") or ()
    if any(fits(rule, subject, subject.where) for rule in rules):
        return subject.where
    if hook.tree.get("matchPolicy") == "Exact":
        return None
    return next((at for at in subject.equivalents if any(fits(rule, subject, at) for rule in rules)), None)


def fits(rule: Mapping[str, Any], subject: Subject, where: Where) -> bool:
    """Whether a rule speaks of this request, were it one for that version."""
    namespaced = bool(subject.namespace) and (where.group, where.plural) != ("", "namespaces")
    return (
        rule.get("scope") in (None, "", ANY, "Namespaced" if namespaced else "Cluster")
        and _names(rule.get("operations"), subject.operation)
        and _names(rule.get("apiGroups"), where.group)
        and _names(rule.get("apiVersions"), where.version)
        and any(_is_resource(name, where.plural, subject.subresource) for name in rule.get("resources") or ())
    )


def _names(listed: list[str] | None, name: str) -> bool:
    return any(each in (ANY, name) for each in listed or ())


def _is_resource(pattern: str, plural: str, subresource: str) -> bool:
    resource, _, below = pattern.partition("/")
    return resource in (ANY, plural) and below in (ANY, subresource)


def _in_namespace(
    selector: LabelSelector, subject: Subject, namespace_labels: Callable[[str], Mapping[str, str]]
) -> bool:
    if not selector:
        return True
    itself = subject.where.plural == "namespaces" and not subject.where.group
    if itself and not subject.subresource and subject.operation in ("CREATE", "UPDATE"):
        return selector.matches(labels_of(subject.new or {}))
    return not subject.namespace or selector.matches(namespace_labels(subject.namespace))


def _of_objects(selector: LabelSelector, subject: Subject) -> bool:
    """The new or the old object has the labels; what has no metadata has none."""
    if not selector:
        return True
    trees = [tree for tree in (subject.new, subject.old) if tree is not None and "metadata" in tree]
    return any(selector.matches(labels_of(tree)) for tree in trees)
