"""Numbers about a process, and their text form for Prometheus.

Stage: status.  In: counts, values, observations.  Out: exposition text.
Rules: no clock, no socket; a name that is not declared, or a label too many or too few, is a fault of ours and raises.
Truth: Prometheus text format 0.0.4; component-base writes the stability level into the help text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[str, ...]


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured. `known`: label values that are there from the start, with nothing counted yet."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    known: tuple[Labels, ...] = ()
    stability: str = "ALPHA"

    def head(self) -> Iterator[str]:
        stability = f"[{self.stability}] " if self.stability else ""
        yield f"# HELP {self.name} {stability}{self.text}"
        yield f"# TYPE {self.name} {self.kind.value}"


def doubling(first: float, number: int) -> tuple[float, ...]:
    """Histogram bounds, each twice the one before."""
    return tuple(first * 2**power for power in range(number))


@dataclass(slots=True)
class Histogram:
    """Values observed, counted by bounds."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: Mapping[str, str]) -> Iterator[str]:
        seen = 0
        for bound, count in zip((*map(_number, self.bounds), "+Inf"), self.counts, strict=True):
            seen += count
            yield f"{name}_bucket{_written({**labels, 'le': bound})} {seen}"
        yield f"{name}_sum{_written(labels)} {_number(self.total)}"
        yield f"{name}_count{_written(labels)} {seen}"


class Registry:
    """All of a process's numbers."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = {metric.name: metric for metric in metrics}
        self._numbers: dict[str, dict[Labels, float]] = {name: {} for name in self._metrics}
        self._histograms: dict[str, dict[Labels, Histogram]] = {name: {} for name in self._metrics}
        self._sources: dict[str, Callable[[], Mapping[Labels, float]]] = {}
        for metric in self._metrics.values():
            known = metric.known or (() if metric.labels else ((),))
            for labels in known:
                if metric.kind is Kind.HISTOGRAM:
                    self._histograms[metric.name][labels] = Histogram(metric.bounds)
                else:
                    self._numbers[metric.name][labels] = 0.0

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """More of a counter."""
        numbers, key = self._numbers[name], self._key(name, labels)
        numbers[key] = numbers.get(key, 0.0) + by

    def add(self, name: str, *labels: str) -> None:
        """One more of a counter, by label values in the order of the labels."""
        numbers = self._numbers[name]
        numbers[labels] = numbers.get(labels, 0.0) + 1

    def put(self, name: str, value: float, **labels: str) -> None:
        """What a gauge shows."""
        self._numbers[name][self._key(name, labels)] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """One more value of a histogram."""
        histograms, key = self._histograms[name], self._key(name, labels)
        if key not in histograms:
            histograms[key] = Histogram(self._metrics[name].bounds)
        histograms[key].observe(value)

    def histogram(self, name: str, *labels: str) -> Histogram:
        """The histogram of these label values, in the order of the labels, for who observes often."""
        histograms = self._histograms[name]
        if labels not in histograms:
            self._key(name, dict(zip(self._metrics[name].labels, labels, strict=True)))
            histograms[labels] = Histogram(self._metrics[name].bounds)
        return histograms[labels]

    def follow(self, name: str, source: Callable[[], Mapping[Labels, float]]) -> None:
        """Ask for the numbers of a metric whenever they are to be shown."""
        self._numbers[name] = {}
        self._sources[name] = source

    def value(self, name: str, **labels: str) -> float:
        """A counter or gauge; of a histogram how much was observed."""
        key = self._key(name, labels)
        if self._metrics[name].kind is Kind.HISTOGRAM:
            found = self._histograms[name].get(key)
            return sum(found.counts) if found else 0
        return self._numbers[name].get(key, 0.0)

    def render(self) -> str:
        return "\n".join(line for metric in self._metrics.values() for line in self._lines(metric)) + "\n"

    def _key(self, name: str, labels: Mapping[str, str]) -> Labels:
        wanted = self._metrics[name].labels
        if len(labels) != len(wanted):
            raise KeyError(f"{name} has the labels {wanted}, not {tuple(labels)}")
        return tuple(labels[label] for label in wanted)

    def _lines(self, metric: Metric) -> Iterator[str]:
        numbers = dict(self._numbers[metric.name])
        if source := self._sources.get(metric.name):
            numbers |= source()
        histograms = self._histograms[metric.name]
        if not numbers and not histograms:
            return
        yield from metric.head()
        for key, value in sorted(numbers.items()):
            yield f"{metric.name}{_written(dict(zip(metric.labels, key, strict=True)))} {_number(value)}"
        for key, histogram in sorted(histograms.items()):
            yield from histogram.lines(metric.name, dict(zip(metric.labels, key, strict=True)))


def _number(value: float) -> str:
    return f"{value:.15g}"


def _written(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
