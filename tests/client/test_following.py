"""An informer on the true API server, its connections cut at random: the caches end as the store is."""

from __future__ import annotations

import asyncio
import random

import pytest

from apiserver.serving import serving
from clusterip.api.errors import ApiError
from clusterip.apiserver.core import Settings
from clusterip.client.informer import Informer
from clusterip.client.names import CONFIG_MAPS
from clusterip.client.rest import Client

SETTINGS = Settings(advertise=("192.168.4.100", 6443))


class Cut(Client):
    """A client whose open connections can be cut off."""

    def cut(self):
        """How many were cut."""
        transports = [protocol.transport for protocol in self._session.connector._acquired]
        for transport in filter(None, transports):
            transport.abort()
        return len(transports)


@pytest.mark.parametrize("seed", range(3))
def test_cut_at_random(seed):
    chance = random.Random(seed)

    async def go():
        async with serving(settings=SETTINGS) as api, api.client() as writer, Cut(api.config()) as reader:
            informers = [
                Informer(reader, CONFIG_MAPS, lambda tree: tree["data"], namespace="default", chance=lambda: 0.0)
                for _ in range(3)
            ]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(informer.run()) for informer in informers]
                for informer in informers:
                    await informer.synced()
                cuts = 0
                for step in range(150):
                    await change(writer, chance, step)
                    if chance.random() < 0.15:
                        cuts += reader.cut()
                    if chance.random() < 0.05:
                        await asyncio.sleep(0.005)
                assert cuts > 10
                truth = await writer.list(CONFIG_MAPS, "default")
                wanted = {("default", t["metadata"]["name"]): t.get("data") for t in truth["items"]}
                for informer in informers:
                    agreed = await informer.until(lambda informer=informer: dict(informer.items()) == wanted, 5)
                    assert agreed, (dict(informer.items()), wanted)
                for task in tasks:
                    task.cancel()

    asyncio.run(go())


async def change(writer, chance, step):
    name = chance.choice("abcdef")
    tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": str(step)}}
    try:
        if chance.random() < 0.3:
            await writer.delete(CONFIG_MAPS, name, "default")
        else:
            await writer.patch(CONFIG_MAPS, name, "default", {"data": {"v": str(step)}})
    except ApiError as error:
        if error.code != 404:
            raise
        await writer.create(CONFIG_MAPS, tree, "default")
