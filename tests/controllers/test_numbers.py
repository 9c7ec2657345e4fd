"""What work queues count, and the page that shows it."""

from __future__ import annotations

import asyncio

import aiohttp

from apiserver.serving import serving
from clusterip.client.names import ResourceRef
from clusterip.client.workqueue import WorkQueue
from clusterip.clock import ManualClock
from clusterip.controllers.numbers import Queues
from clusterip.controllers.run import run
from clusterip.transport.listening import bind

NAMESPACES = ResourceRef("", "v1", "namespaces", "Namespace", False)


def test_a_key_on_its_way_through_a_queue() -> None:
    async def go() -> None:
        clock = ManualClock()
        queues = Queues(clock.monotonic)
        queue: WorkQueue[str] = WorkQueue(listener=queues.of("q"))

        def shows(name: str, value: object) -> bool:
            return f'workqueue_{name}{{name="q"}} {value}\n' in queues.registry.render()

        for key in "aab":
            queue.add(key)
        assert shows("adds_total", 2)
        assert shows("depth", 2)
        clock.advance(3)
        assert await queue.get() == "a"
        clock.advance(2)
        assert shows("depth", 1)
        assert shows("queue_duration_seconds_sum", 3)
        assert shows("unfinished_work_seconds", 2)
        assert shows("longest_running_processor_seconds", 2)
        queue.done("a")
        queue.add_rate_limited("a")
        assert shows("work_duration_seconds_count", 1)
        assert shows("unfinished_work_seconds", 0)
        assert shows("retries_total", 1)

    asyncio.run(go())


def test_the_page_of_controllers_that_work() -> None:
    async def go() -> None:
        sock = bind("127.0.43.1:0")  # an address of its own: nobody else is given the port meanwhile
        place = f"127.0.43.1:{sock.getsockname()[1]}"
        sock.close()
        async with serving() as api, api.client() as client, aiohttp.ClientSession() as session, asyncio.timeout(60):
            working = asyncio.ensure_future(run(client.config, client.config, "serviceaccount", page=place))

            async def page(path: str) -> tuple[int, str]:
                try:
                    async with session.get(f"http://{place}{path}") as answer:
                        return answer.status, await answer.text()
                except aiohttp.ClientConnectionError:
                    return 0, ""

            while (await page("/readyz"))[0] != 200:  # noqa: ASYNC110 - another part comes up, nobody tells
                await asyncio.sleep(0.05)
            assert await page("/healthz") == (200, "ok")
            await client.create(NAMESPACES, {"metadata": {"name": "new"}})
            worked = 'workqueue_work_duration_seconds_count{name="serviceaccount"} '
            while True:
                text = (await page("/metrics"))[1]
                counts = [line for line in text.splitlines() if line.startswith(worked)]
                if counts and float(counts[0].rpartition(" ")[2]) >= 5:  # four namespaces were there
                    break
                await asyncio.sleep(0.05)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    asyncio.run(go())
