"""The work queue: each key once, one worker a key, failures later."""

from __future__ import annotations

import asyncio

from clusterip.client.workqueue import WorkQueue


def test_doubles_are_one():
    async def go():
        queue = WorkQueue()
        for key in "abab":
            queue.add(key)
        assert [await queue.get(), await queue.get(), len(queue)] == ["a", "b", 0]

    asyncio.run(go())


def test_a_key_added_while_worked_on_comes_again_afterwards():
    async def go():
        queue = WorkQueue()
        queue.add("a")
        await queue.get()
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"

    asyncio.run(go())


def test_never_two_workers_on_one_key():
    async def go():
        queue, working, seen = WorkQueue(), set(), []

        async def work(key):
            assert key not in working
            working.add(key)
            for _ in range(3):
                await asyncio.sleep(0)
            working.discard(key)
            seen.append(key)

        task = asyncio.create_task(queue.run(work, workers=4))
        for _ in range(20):
            for key in "abc":
                queue.add(key)
            await asyncio.sleep(0)
        while len(queue) or working:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        assert set(seen) == set("abc")

    asyncio.run(go())


def test_what_fails_comes_again_and_the_rest_goes_on():
    async def go():
        queue, seen, done = WorkQueue(first=0.001), [], asyncio.Event()

        async def work(key):
            seen.append(key)
            if key == "bad" and seen.count("bad") < 4:
                raise ConnectionError("no")
            if key == "bad":
                done.set()

        task = asyncio.create_task(queue.run(work))
        queue.add("bad")
        queue.add("good")
        async with asyncio.timeout(30):
            await done.wait()
        task.cancel()
        assert seen == ["bad", "good", "bad", "bad", "bad"]
        assert queue.failures("bad") <= 3

    asyncio.run(go())


def test_the_earliest_of_several_times_holds():
    async def go():
        queue = WorkQueue()
        queue.add_after("a", 60)
        queue.add_after("a", 0.001)
        queue.add_after("a", 30)
        async with asyncio.timeout(30):
            assert await queue.get() == "a"

    asyncio.run(go())


def test_work_that_never_waits_lets_others_work():
    async def go():
        queue = WorkQueue()

        async def work(key):
            queue.add(key)

        async with asyncio.timeout(30):
            task = asyncio.create_task(queue.run(work))
            queue.add("a")
            for _ in range(10):
                await asyncio.sleep(0)
        task.cancel()

    asyncio.run(go())
