"""MetalLB's bundle as objects, for tests against the true API server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from clusterip.api.errors import ApiError
from clusterip.api.yaml import documents
from clusterip.client.names import CUSTOM_RESOURCES, NAMESPACES, VALIDATING_WEBHOOKS, ResourceRef
from clusterip.client.rest import Client

Tree = dict[str, Any]
FILE = Path(__file__).parents[2] / "examples" / "metallb" / "metallb-native.yaml"
NAMESPACE = "metallb-system"
SECONDS = 60.0


def bundle() -> list[Tree]:
    return [tree for tree, _ in documents(FILE.read_text()) if tree]


async def install(client: Client, *, webhooks: bool = False) -> None:
    """The namespace and the definitions; with webhooks, those too."""
    wanted = {"Namespace": NAMESPACES, "CustomResourceDefinition": CUSTOM_RESOURCES}
    if webhooks:
        wanted["ValidatingWebhookConfiguration"] = VALIDATING_WEBHOOKS
    for tree in bundle():
        if tree["kind"] in wanted:
            if not webhooks:
                tree.get("spec", {}).pop("conversion", None)
            await client.create(wanted[tree["kind"]], tree)


async def create(client: Client, ref: ResourceRef, name: str, spec: Tree, namespace: str = NAMESPACE) -> Tree:
    meta = {"name": name, "namespace": namespace}
    tree = {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": meta, "spec": spec}
    return await eventually(lambda: client.create(ref, tree))


async def eventually(act: Callable[[], Awaitable[Any]]) -> Any:
    """What act returns once it neither fails nor returns nothing."""
    trouble: Exception | None = None
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    if found := await act():
                        return found
                except (ApiError, OSError) as error:
                    trouble = error
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never: {trouble}") from trouble
