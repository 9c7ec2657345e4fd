"""Events through the true API: written behind, repeated ones counted."""

from __future__ import annotations

import asyncio

from apiserver.serving import serving
from clusterip.apiserver.core import Settings
from clusterip.client.events import EventRecorder, Involved
from clusterip.client.names import EVENTS

ABOUT = Involved(kind="Pod", name="web", namespace="default", uid="u")
SETTINGS = Settings(advertise=("192.168.4.100", 6443))


def recording(scenario):
    async def go():
        async with serving(settings=SETTINGS) as api, api.client() as client:
            recorder = EventRecorder(client, "tester", "host-1")
            task = asyncio.create_task(recorder.run())
            await scenario(recorder, client)
            task.cancel()

    asyncio.run(go())


async def written(recorder, client):
    async with asyncio.timeout(30):
        await recorder.flushed()
    return (await client.list(EVENTS, "default"))["items"]


def test_an_event():
    async def scenario(recorder, client):
        recorder.event(ABOUT, "Normal", "Pulled", "an image")
        (tree,) = await written(recorder, client)
        assert tree["involvedObject"] == {
            "kind": "Pod",
            "namespace": "default",
            "name": "web",
            "uid": "u",
            "apiVersion": "v1",
        }
        assert (tree["reason"], tree["message"], tree["count"]) == ("Pulled", "an image", 1)
        assert tree["source"] == {"component": "tester", "host": "host-1"}
        assert tree["metadata"]["name"].startswith("web.")

    recording(scenario)


def test_repeated_words_are_counted():
    async def scenario(recorder, client):
        for _ in range(3):
            recorder.event(ABOUT, "Warning", "BackOff", "again")
        recorder.event(ABOUT, "Warning", "BackOff", "something else")
        events = await written(recorder, client)
        assert sorted((tree["message"], tree["count"]) for tree in events) == [("again", 3), ("something else", 1)]

    recording(scenario)


def test_an_event_that_was_deleted_is_said_anew():
    async def scenario(recorder, client):
        recorder.event(ABOUT, "Normal", "A", "x")
        (tree,) = await written(recorder, client)
        await client.delete(EVENTS, tree["metadata"]["name"], "default")
        recorder.event(ABOUT, "Normal", "A", "x")
        assert [tree["count"] for tree in await written(recorder, client)] == [1]

    recording(scenario)


def test_a_refused_event_does_not_stop_the_next():
    async def scenario(recorder, client):
        recorder.event(Involved(kind="Pod", name="x", namespace="nowhere"), "Normal", "A", "x")
        recorder.event(ABOUT, "Normal", "B", "y")
        assert [tree["reason"] for tree in await written(recorder, client)] == ["B"]

    recording(scenario)


def test_a_key_makes_one_event_of_what_several_say():
    async def scenario(recorder, client):
        other = EventRecorder(client, "tester", "host-2")
        running = asyncio.create_task(other.run())
        recorder.event(ABOUT, "Warning", "Conflict", "words", key="abc")
        await written(recorder, client)
        other.event(ABOUT, "Warning", "Conflict", "words", key="abc")
        (tree,) = await written(other, client)
        assert (tree["metadata"]["name"], tree["count"], tree["source"]["host"]) == ("web.abc", 1, "host-1")
        running.cancel()

    recording(scenario)
