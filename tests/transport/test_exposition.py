"""Numbers and their text."""

from __future__ import annotations

import pytest

from clusterip.transport.exposition import Kind, Metric, Registry, doubling

METRICS = (
    Metric("jobs_total", Kind.COUNTER, "Jobs."),
    Metric("pages_total", Kind.COUNTER, "Pages.", ("code",), known=(("200",),)),
    Metric("depth", Kind.GAUGE, "Depth.", ("queue", "side"), stability=""),
    Metric("seconds", Kind.HISTOGRAM, "Seconds.", ("verb",), (0.1, 1.0)),
)


def test_text() -> None:
    registry = Registry(METRICS)
    registry.count("jobs_total")
    registry.count("pages_total", 2, code="503")
    registry.put("depth", 1767225600.25, queue='a"b\n', side="left")
    for value in (0.1, 0.5, 7):
        registry.observe("seconds", value, verb="GET")
    assert registry.render() == (
        "# HELP jobs_total [ALPHA] Jobs.\n# TYPE jobs_total counter\njobs_total 1\n"
        '# HELP pages_total [ALPHA] Pages.\n# TYPE pages_total counter\npages_total{code="200"} 0\n'
        'pages_total{code="503"} 2\n'
        '# HELP depth Depth.\n# TYPE depth gauge\ndepth{queue="a\\"b\\n",side="left"} 1767225600.25\n'
        "# HELP seconds [ALPHA] Seconds.\n# TYPE seconds histogram\n"
        'seconds_bucket{verb="GET",le="0.1"} 1\nseconds_bucket{verb="GET",le="1"} 2\n'
        'seconds_bucket{verb="GET",le="+Inf"} 3\nseconds_sum{verb="GET"} 7.6\nseconds_count{verb="GET"} 3\n'
    )
    assert (registry.value("seconds", verb="GET"), registry.value("pages_total", code="503")) == (3, 2)


def test_nothing_measured_is_not_shown_unless_there_are_no_labels() -> None:
    assert "depth" not in Registry(METRICS).render()
    assert "jobs_total 0" in Registry(METRICS).render()


def test_numbers_that_others_keep_are_asked_for() -> None:
    registry = Registry(METRICS)
    numbers = {(): 3.0}
    registry.follow("jobs_total", lambda: numbers)
    assert "jobs_total 3\n" in registry.render()
    numbers.clear()
    assert "jobs_total" not in registry.render()


def test_labels_and_names_must_fit() -> None:
    registry = Registry(METRICS)
    for name, labels in (("jobs_total", {"code": "1"}), ("pages_total", {}), ("depth", {"queue": "a", "way": "b"})):
        with pytest.raises(KeyError):
            registry.count(name, **labels)
    with pytest.raises(KeyError):
        registry.count("other")


def test_doubling() -> None:
    assert doubling(0.001, 4) == (0.001, 0.002, 0.004, 0.008)
