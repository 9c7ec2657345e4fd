"""What admission counts: its two steps, webhooks, conditions that were asked first, policies.

Stage: status, beside the write path.  In: how long something took and how it ended.  Out: numbers of a registry.
Rules: an operation may be run several times, so what a run counts waits in its Call until the last one is over; calls
       of webhooks are counted as they are made.
Truth: apiserver's admission/metrics and plugin/policy/validating/metrics of 1.36.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final

from clusterip.api.errors import ApiError
from clusterip.transport.exposition import Histogram, Kind, Metric, Registry

if TYPE_CHECKING:
    from clusterip.apiserver.core import Call

COUNTER, HISTOGRAM = Kind.COUNTER, Kind.HISTOGRAM
STEPS: Final = (0.005, 0.025, 0.1, 0.5, 1, 2.5)
CONDITIONS: Final = (0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25)
CHECKS: Final = (0.0000005, 0.001, 0.01, 0.1, 1.0)
HIGHEST_CODE: Final = 600
CONDITION: Final = ("name", "kind", "type", "operation")
POLICY: Final = ("policy", "policy_binding", "error_type", "enforcement_action")
HEAD, POLICIES = "apiserver_admission_", "apiserver_validating_admission_policy_"

METRICS: Final = (
    Metric(f"{HEAD}step_admission_duration_seconds", HISTOGRAM, "Seconds of a step of admission, webhooks included.",
           ("type", "operation", "rejected"), STEPS, stability="STABLE"),
    Metric(f"{HEAD}controller_admission_duration_seconds", HISTOGRAM, "Seconds of a plugin of admission.",
           ("name", "type", "operation", "rejected"), STEPS, stability="STABLE"),
    Metric(f"{HEAD}webhook_admission_duration_seconds", HISTOGRAM, "Seconds that a webhook took.",
           ("name", "type", "operation", "rejected"), (*STEPS, 10, 25), stability="STABLE"),
    Metric(f"{HEAD}webhook_request_total", COUNTER, "Calls of webhooks, by the code they came to.",
           ("name", "type", "operation", "code", "rejected")),
    Metric(f"{HEAD}webhook_rejection_count", COUNTER, "Requests refused because of a webhook, and why.",
           ("name", "type", "operation", "error_type", "rejection_code")),
    Metric(f"{HEAD}webhook_fail_open_count", COUNTER, "Failures of webhooks that refused nothing.", ("name", "type")),
    Metric(f"{HEAD}match_condition_evaluation_errors_total", COUNTER, "Conditions that could not be asked.", CONDITION),
    Metric(f"{HEAD}match_condition_exclusions_total", COUNTER, "Requests that conditions left out.", CONDITION),
    Metric(f"{HEAD}match_condition_evaluation_seconds", HISTOGRAM, "Seconds of asking conditions.", CONDITION,
           CONDITIONS),
    Metric(f"{POLICIES}check_total", COUNTER, "Validations that did not hold, and what was done about it.", POLICY,
           stability="BETA"),
    Metric(f"{POLICIES}check_duration_seconds", HISTOGRAM, "Seconds of such a validation.", POLICY, CHECKS,
           stability="BETA"),
)  # fmt: skip


class AdmissionNumbers:
    """Where admission is counted."""

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry or Registry(METRICS)
        self._known: dict[tuple[str, ...], Histogram] = {}
        self.step: Callable[[str, str, Call], Step] = partial(Step, self)
        """A step of admission, `admit` or `validate`, as long as the block lasts."""
        self.plugin: Callable[[str, str, str, Call], Plugin] = partial(Plugin, self)
        """One plugin's part of a step, as long as the block lasts."""

    def timing(self, *labels: str) -> Histogram:
        """How long a step (kind, operation, rejected) or a plugin (its name before these) took."""
        found = self._known.get(labels)
        if found is None:
            what = "step" if len(labels) == 3 else "controller"
            found = self._known[labels] = self._registry.histogram(f"{HEAD}{what}_admission_duration_seconds", *labels)
        return found

    # --- webhooks

    def called(self, name: str, kind: str, operation: str, seconds: float, code: int, rejected: str = "") -> None:
        """A webhook was asked; `rejected` is the sort of error where that refuses the request."""
        code, word = min(code, HIGHEST_CODE), "true" if rejected else "false"
        self._registry.add(f"{HEAD}webhook_request_total", name, kind, operation, str(code), word)
        self._registry.histogram(f"{HEAD}webhook_admission_duration_seconds", name, kind, operation, word).observe(
            seconds
        )
        if rejected:
            self._registry.add(f"{HEAD}webhook_rejection_count", name, kind, operation, rejected, str(code))

    def failed_open(self, name: str, kind: str) -> None:
        self._registry.add(f"{HEAD}webhook_fail_open_count", name, kind)

    def conditioned(self, name: str, kind: str, operation: str, seconds: float, outcome: str) -> None:
        """The conditions of a webhook were asked: it is `wanted`, `excluded`, or there was an `error`."""
        labels = (name, "webhook", kind, operation)
        self._registry.histogram(f"{HEAD}match_condition_evaluation_seconds", *labels).observe(seconds)
        if outcome == "error":
            self._registry.add(f"{HEAD}match_condition_evaluation_errors_total", *labels)
        elif outcome == "excluded":
            self._registry.add(f"{HEAD}match_condition_exclusions_total", *labels)

    # --- policies

    def checked(self, call: Call, policy: str, binding: str, seconds: float, error: str, action: str) -> None:
        """A validation of a policy did not hold, or could not be asked; counted once for a request."""
        call.tallies.append(partial(self._checked, (policy, binding, error, action), seconds))

    def _checked(self, labels: tuple[str, ...], seconds: float) -> None:
        self._registry.add(f"{POLICIES}check_total", *labels)
        self._registry.histogram(f"{POLICIES}check_duration_seconds", *labels).observe(seconds)


class Step:
    """One step of admission, timed; a refusal ends it, a webhook that must be asked first makes it none."""

    __slots__ = ("_began", "_call", "_kind", "_numbers", "_operation")

    def __init__(self, numbers: AdmissionNumbers, kind: str, operation: str, call: Call) -> None:
        self._numbers, self._kind, self._operation, self._call = numbers, kind, operation, call

    def __enter__(self) -> None:
        self._call.webhook_seconds = 0.0
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or (isinstance(error, ApiError) and not hasattr(error, "fetch")):
            seconds = time.perf_counter() - self._began + self._call.webhook_seconds
            counted = self._numbers.timing(self._kind, self._operation, "false" if error is None else "true")
            self._call.tallies.append(partial(counted.observe, seconds))


class Plugin:
    """One plugin's part of a step, timed as a step is."""

    __slots__ = ("_began", "_call", "_kind", "_name", "_numbers", "_operation")

    def __init__(self, numbers: AdmissionNumbers, name: str, kind: str, operation: str, call: Call) -> None:
        self._numbers, self._name, self._kind, self._operation, self._call = numbers, name, kind, operation, call

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or (isinstance(error, ApiError) and not hasattr(error, "fetch")):
            seconds = time.perf_counter() - self._began
            rejected = "false" if error is None else "true"
            counted = self._numbers.timing(self._name, self._kind, self._operation, rejected)
            self._call.tallies.append(partial(counted.observe, seconds))


def tally(counted: Iterable[Callable[[], None]]) -> None:
    """Count what the last run of an operation noted."""
    for each in counted:
        each()
