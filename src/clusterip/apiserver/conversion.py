"""Objects of one kind in several versions that only a webhook can turn into each other.

Stage: decide and ask.  In: kept objects, versions.  Out: objects in the wanted version, or an ApiError.
Rules: `shown` and `kept` never wait: what nobody converted yet is named by Pending, all of a list at once; a conversion
       holds for equal objects, so that it is made once.  Each kept object says the version that it is kept in.
Truth: apiextensions-apiserver, pkg/apiserver/conversion/webhook_converter.go; KEP-598.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

import orjson

from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import GroupVersion, Tree, name_of, namespace_of, uid_of
from clusterip.apiserver.cache import Entry
from clusterip.apiserver.webhooks_calling import Caller, CallError
from clusterip.apiserver.webhooks_pending import TRIES, Pending

T = TypeVar("T")
MARK = "clusterip.dev/version"
MARKED = b'"clusterip.dev/version":'
GROUP = "apiextensions.k8s.io"
VERSIONS = ("v1", "v1beta1")
SECONDS = 30.0
LEAST = 4096  # conversions that are remembered, however few objects there are
AT_ONCE = 500
OF_THE_WEBHOOK = ("labels", "annotations")


class Converter:
    """The conversions of one definition."""

    def __init__(self, crd: Tree, ask: Callable[[Tree], Awaitable[Tree]], count: Callable[[], int]) -> None:
        """`ask` sends a review; `count` says how many objects there are."""
        spec = crd["spec"]
        self._group, self._kind = spec["group"], spec["names"]["kind"]
        self._storage = next(each["name"] for each in spec["versions"] if each.get("storage"))
        self._first = ((crd.get("status") or {}).get("storedVersions") or [self._storage])[0]
        webhook = (spec.get("conversion") or {}).get("webhook") or {}
        listed = webhook.get("conversionReviewVersions") or ()
        self._review = next((each for each in listed if each in VERSIONS), "")
        self._ask, self._count = ask, count
        self._known: OrderedDict[tuple[str, str, bytes], bytes] = OrderedDict()
        self.calls = 0

    # without waiting

    def shown(self, tree: Tree, version: str) -> Tree:
        """A kept object in a version."""
        source = tree.pop(MARK, self._first)
        return tree if source == version else self._looked_up(tree, source, version)

    def kept(self, tree: Tree, version: str) -> Tree:
        """An object of a version as it is kept."""
        made = tree if version == self._storage else self._looked_up(tree, version, self._storage)
        return {**made, MARK: self._storage}

    def need(self, entries: Iterable[Entry], version: str) -> None:
        """Pending when some of the entries are not yet known in the version."""
        missing = self._missing(entries, version)
        if missing:
            raise Pending(lambda: self._learn(missing, version))

    def _looked_up(self, tree: Tree, source: str, target: str) -> Tree:
        found = self._known.get((source, target, _content(tree)))
        if found is None:
            missing = [(source, {**tree})]
            raise Pending(lambda: self._learn(missing, target))
        return _restored(orjson.loads(found), tree)

    def _missing(self, entries: Iterable[Entry], version: str) -> list[tuple[str, Tree]]:
        missing = []
        for entry in entries:
            tree = entry.tree()
            source = tree.pop(MARK, self._first)
            if source != version and (source, version, _content(tree)) not in self._known:
                missing.append((source, tree))
        return missing

    # waiting

    async def learn(self, entries: Sequence[Entry], version: str) -> None:
        """Have the entries known in the version."""
        if missing := self._missing(entries, version):
            await self._learn(missing, version)

    async def _learn(self, missing: Sequence[tuple[str, Tree]], target: str) -> None:
        """Convert in calls of many objects."""
        todo = iter(missing)
        while part := list(islice(todo, AT_ONCE)):
            wholes = [self._whole(tree, source) for source, tree in part]
            made = await self._converted(wholes, target)
            for (source, tree), whole, one in zip(part, wholes, made, strict=True):
                self._check(one, whole, target)
                self._known[source, target, _content(tree)] = orjson.dumps(one)
        while len(self._known) > LEAST + 4 * self._count():
            self._known.popitem(last=False)

    def _whole(self, tree: Tree, version: str) -> Tree:
        return {**tree, "apiVersion": str(GroupVersion(self._group, version)), "kind": self._kind}

    async def _converted(self, objects: list[Tree], target: str) -> list[Tree]:
        about = objects[0]["apiVersion"]
        if not self._review:
            raise ApiError.unclassified("no supported conversion review versions")
        uid = uid_of(objects[0]) or name_of(objects[0]) or "conversion"
        self.calls += 1
        uid = f"{uid}-{self.calls}"
        desired = str(GroupVersion(self._group, target))
        request = {"uid": uid, "desiredAPIVersion": desired, "objects": objects}
        review = {"kind": "ConversionReview", "apiVersion": f"{GROUP}/{self._review}", "request": request}
        try:
            answer = await self._ask(review)
            found = _objects(answer, uid, self._review)
        except CallError as error:
            raise self._failed(about, f"failed: {error}") from None
        if len(found) != len(objects):
            raise self._failed(about, f"returned {len(found)} objects, expected {len(objects)}")
        return found

    def _failed(self, about: str, why: str) -> ApiError:
        return ApiError.unclassified(f"conversion webhook for {about}, Kind={self._kind} {why}")

    def _check(self, made: Any, whole: Tree, target: str) -> None:
        why = _faults(made, whole, str(GroupVersion(self._group, target)))
        if why:
            raise self._failed(whole["apiVersion"], f"returned invalid object: {why}")


class Unmarked:
    """What is left of conversions by a webhook when a definition has none any more: marks to take away."""

    def shown(self, tree: Tree, version: str) -> Tree:
        tree.pop(MARK, None)
        return tree

    def kept(self, tree: Tree, version: str) -> Tree:
        return tree

    def need(self, entries: Iterable[Entry], version: str) -> None:
        return

    async def learn(self, entries: Sequence[Entry], version: str) -> None:
        return


def asking(caller: Caller, crd: Tree) -> Callable[[Tree], Awaitable[Tree]]:
    """How a definition's webhook is asked."""
    client = ((crd["spec"].get("conversion") or {}).get("webhook") or {}).get("clientConfig") or {}
    return lambda review: caller.post(client, review, SECONDS)


async def fetched(make: Callable[[], T]) -> T:
    """What `make` gives once nothing is missing."""
    for _ in range(TRIES):
        try:
            return make()
        except Pending as pending:
            await pending.fetch()
    await asyncio.sleep(0)
    return make()


def _content(tree: Tree) -> bytes:
    """An object without what changes by itself."""
    metadata = {
        key: value for key, value in tree["metadata"].items() if key not in ("resourceVersion", "managedFields")
    }
    rest = {key: value for key, value in tree.items() if key not in ("metadata", "apiVersion", "kind")}
    return orjson.dumps({"metadata": metadata, **rest}, option=orjson.OPT_SORT_KEYS)


def _objects(answer: Tree, uid: str, version: str) -> list[Any]:
    response = answer.get("response")
    if version == "v1" and (answer.get("apiVersion"), answer.get("kind")) != (f"{GROUP}/v1", "ConversionReview"):
        group, _, number = str(answer.get("apiVersion") or "").rpartition("/")
        got = f"{group}/{number}, Kind={answer.get('kind') or ''}"
        raise CallError(f"expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {got}")
    if not isinstance(response, dict):
        raise CallError("no response provided")
    if version == "v1" and response.get("uid") != uid:
        raise CallError(f"expected response.uid={quoted(uid)}, got {quoted(str(response.get('uid') or ''))}")
    result = response.get("result") or {}
    if result.get("status") != "Success":
        given = result.get("status") or ""
        raise CallError(result.get("message") or f"response.result.status was '{given}', not 'Success'")
    found = response.get("convertedObjects") or []
    return found if isinstance(found, list) else []


def _faults(made: Any, whole: Tree, api_version: str) -> str:
    """What a webhook may not have done to an object."""
    if not isinstance(made, dict):
        return "not an object"
    if made.get("apiVersion") != api_version:
        return f"invalid groupVersion (expected {api_version}, received {made.get('apiVersion') or ''})"
    if made.get("kind") != whole["kind"]:
        return f"invalid kind (expected {whole['kind']}, received {made.get('kind') or ''})"
    if not isinstance(made.get("metadata"), dict):
        return "missing metadata in converted object"
    for word, read in (("name", name_of), ("namespace", namespace_of), ("UID", uid_of)):
        if read(made) != read(whole):
            return f"must have the same {word}: {read(whole)} != {read(made)}"
    return ""


def _restored(made: Tree, tree: Tree) -> Tree:
    """Of a converted object's metadata only labels and annotations are the webhook's."""
    metadata = {key: value for key, value in tree["metadata"].items() if key not in OF_THE_WEBHOOK}
    theirs = {key: made["metadata"][key] for key in OF_THE_WEBHOOK if made["metadata"].get(key)}
    rest = {key: value for key, value in made.items() if key not in ("metadata", "apiVersion", "kind")}
    head = {key: made[key] for key in ("apiVersion", "kind")}
    return {**head, "metadata": {**metadata, **theirs}, **rest}
