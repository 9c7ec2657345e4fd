"""Whole conversations, against what kube-apiserver 1.36 answered; server-side apply among them."""

from __future__ import annotations

import asyncio

import pytest

from apiserver.conversations import conversations, played
from apiserver.serving import serving

CONVERSATIONS = conversations(
    "access", "apply", "customresources", "discovery", "forms", "networking", "objects", "services", "workloads"
)
DIFFERENT = {
    # upstream adds a diff of its Go structures to the refusal of a pod's change; the rest of the answer is equal
    "workloads/pods": ["24: PATCH /api/v1/namespaces/{ns}/pods/a"],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_as_recorded(name: str) -> None:
    async def run() -> list[tuple[str, object, object]]:
        async with serving() as api:
            return await asyncio.to_thread(lambda: list(played(api.url, api.token, *CONVERSATIONS[name])))

    different = [step for step in asyncio.run(run()) if step[1] != step[2]]
    assert [step for step in different if step[0] not in DIFFERENT.get(name, ())] == []
    assert [step[0] for step in different] == DIFFERENT.get(name, [])
