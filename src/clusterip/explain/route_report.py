"""A route as text for people and as a tree for programs.

Stage: plan.  In: Route.  Out: text, a tree.  Rules: pure; one line a hop, what was seen below it.
"""

from __future__ import annotations

from typing import Any

from clusterip.explain.route import Mark, Route


def render_route(route: Route) -> str:
    """One line a hop, what was seen below it."""
    width = max(len(step.hop) for step in route.steps)
    lines = [f"{route.client.text} -> Service {route.service}", ""]
    for step in route.steps:
        lines.append(f"{step.mark.value:<6}{step.hop:<{width}}  {step.text}")
        lines += [" " * (8 + width) + each for each in step.evidence]
    failed = [step for step in route.steps if step.mark is Mark.FAILS]
    end = f"does not arrive: {failed[0].hop}: {failed[0].text}" if failed else "arrives"
    return "\n".join([*lines, "", end])


def tree_of_route(route: Route) -> dict[str, Any]:
    """For programs."""
    return {
        "service": str(route.service),
        "from": route.client.text,
        "node": route.client.node,
        "arrives": route.arrives,
        "steps": [
            {"hop": step.hop, "result": step.mark.name.lower(), "text": step.text, "evidence": list(step.evidence)}
            for step in route.steps
        ],
    }
