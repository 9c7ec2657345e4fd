"""delete and deletecollection: now, gracefully, or after finalizers.

Stage: decide, inside the write path.  In: a Call and DeleteOptions.  Out: a Status, or the object on its way out.
Truth: apiserver's registry/rest/delete.go and registry/generic/registry/store.go; pod and namespace strategies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from clusterip.api.errors import ApiError, details_of, quoted
from clusterip.api.meta import Tree, qualified
from clusterip.apiserver import admission, bodies, holdings, webhooks
from clusterip.apiserver.cache import Entry, encode
from clusterip.apiserver.conversion import fetched
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.forms import list_metadata
from clusterip.apiserver.media import render
from clusterip.apiserver.options import delete_problems, flag, integer
from clusterip.apiserver.reading import parse_page
from clusterip.apiserver.selecting import selection
from clusterip.apiserver.writes import Transaction
from clusterip.apiserver.writing import commit, decide
from clusterip.clock import rfc3339
from clusterip.transport.answers import Response

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
FINALIZERS = {"Foreground": FOREGROUND, "Orphan": ORPHAN, "Background": ""}
SHOWN_AFTERWARDS = frozenset({"pods", "services", "serviceaccounts"})


@dataclass(frozen=True, slots=True)
class Options:
    """How to delete."""

    grace_seconds: int | None = None
    policy: str = ""
    uid: str = ""
    revision: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of it: the object as it was or is, and whether it is gone."""

    entry: Entry
    gone: bool


async def read_options(call: Call) -> Options:
    """From the body where there is one, else from the query."""
    body = await bodies.read(call.request)
    if body.raw:
        bodies.check_media(body)
    tree = bodies.delete_options(body) if body.raw else _asked(call)
    policy, orphan = tree.get("propagationPolicy"), tree.get("orphanDependents")
    stages = tree.get("dryRun") or []
    if problems := delete_problems(policy, orphan, stages):
        raise ApiError.invalid("meta.k8s.io", "DeleteOptions", "", problems)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    conditions = tree.get("preconditions") or {}
    return Options(
        tree.get("gracePeriodSeconds"),
        policy or "",
        conditions.get("uid") or "",
        conditions.get("resourceVersion") or "",
        bool(stages),
    )


def _asked(call: Call) -> Tree:
    """DeleteOptions that came as parameters."""
    query = call.query
    return {
        "gracePeriodSeconds": integer(query, "gracePeriodSeconds"),
        "propagationPolicy": query.get("propagationPolicy"),
        "orphanDependents": flag(query, "orphanDependents"),
        "preconditions": {"uid": query.get("uid")},
        "dryRun": call.request.values("dryRun"),
    }


async def delete(core: Core, call: Call) -> Response:
    options = await read_options(call)

    def operation(transaction: Transaction) -> Deleted:
        return remove(core, call, transaction, call.key, options)

    deleted = await commit(core, call, operation, options.dry_run)
    _warn(call, options)
    if deleted.gone and call.served.resource.plural not in SHOWN_AFTERWARDS:
        return call.answer(render(_success(call, deleted.entry), call.form))
    return call.answer(await fetched(lambda: call.view(core).one(deleted.entry)))


def _warn(call: Call, options: Options) -> None:
    """Of kinds whose dependents stay unless the client says otherwise."""
    if call.served.resource.deletion_warning and not options.policy:
        call.warnings.append(call.served.resource.deletion_warning)


def _success(call: Call, entry: Entry) -> Tree:
    resource = call.served.resource
    details = {**details_of(resource.group, resource.plural, entry.name), "uid": entry.tree()["metadata"].get("uid")}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


async def delete_collection(core: Core, call: Call) -> Response:
    """Each object of the selection by itself, as upstream: what fails stops it, what went is gone."""
    options = await read_options(call)
    limit = parse_page(core, call).limit
    chosen = selection(call.query, call.served, call.namespace)
    if chosen.converts and call.served.converter is not None:
        every = list(call.served.collection.select(chosen.namespace))
        await call.served.converter.learn(every, call.served.resource.version)
    entries = list(islice(chosen.of(call.served.collection), limit or None))
    for entry in entries:

        def operation(transaction: Transaction, key: str = entry.key) -> Deleted | None:
            if transaction.get(call.served.collection, key) is None:
                return None
            return remove(core, call, transaction, key, options)

        await decide(core, call, operation, options.dry_run)
    _warn(call, options)
    body = await fetched(lambda: call.view(core).many(entries, list_metadata(core.store.revision)))
    return call.answer(body)


def remove(core: Core, call: Call, transaction: Transaction, key: str, options: Options) -> Deleted:
    """One object: removed, or marked and waiting."""
    served, resource = call.served, call.served.resource
    entry = transaction.get(served.collection, key)
    if entry is None:
        raise ApiError.not_found(resource.group, resource.plural, key.rpartition("/")[2])
    tree = served.tree(entry)
    check_conditions(call, tree, options)
    asks = call.verb in ("delete", "deletecollection")  # an eviction asked already, about itself
    with core.numbers.step("admit", "DELETE", call):
        admission.admit_delete(core, call, transaction, tree)
        if asks:
            webhooks.mutate(core, call, "DELETE", None, tree, key)
    with core.numbers.step("validate", "DELETE", call):
        if asks:
            webhooks.validate(core, call, "DELETE", None, tree, key)
    if resource.plural == "namespaces" and not resource.group:
        return _remove_namespace(core, call, transaction, key, entry, tree)
    now = core.clock.now()
    if not tree["metadata"].get("deletionTimestamp"):
        resource.prepare_delete(tree, rfc3339(now))
    finalizers = _finalizers(tree, options.policy or _begun(tree) or resource.default_propagation)
    grace = _grace(call, tree, options)
    metadata = tree["metadata"]
    if metadata.get("deletionTimestamp") and metadata.get("deletionGracePeriodSeconds"):
        return _hurry(core, call, transaction, key, entry, tree, grace, now, finalizers)
    if not grace and not finalizers:
        return _gone(core, call, transaction, key, tree, now)
    before = served.tree(entry)
    _mark(tree, now, grace)
    _set_finalizers(tree, finalizers)
    if tree == before:
        return Deleted(entry, gone=False)
    return Deleted(transaction.put(served.collection, key, served.kept(tree)), gone=False)


def _gone(core: Core, call: Call, transaction: Transaction, key: str, tree: Tree, now: datetime) -> Deleted:
    """Removed at once; of a kind with graceful deletion the answer shows that there was no grace."""
    served = call.served
    last = transaction.delete(served.collection, key)
    if served.collection is core.registry.of("services"):
        holdings.follow(core, transaction, tree, None)
    if served.resource.graceful_seconds is None:
        return Deleted(last, gone=True)
    _mark(tree, now, 0)
    tree["metadata"]["deletionGracePeriodSeconds"] = 0
    return Deleted(Entry(key, encode(served.kept(tree)), last.revision, last.created, last.readers), gone=True)


def check_conditions(call: Call, tree: Tree, options: Options) -> None:
    metadata, resource = tree["metadata"], call.served.resource
    what = ""
    if options.uid and options.uid != metadata.get("uid"):
        what = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata.get('uid')}). "
            "The object might have been deleted and then recreated"
        )
    elif options.revision and options.revision != metadata["resourceVersion"]:
        what = (
            f"the ResourceVersion in the precondition ({options.revision}) does not match the ResourceVersion "
            f"in record ({metadata['resourceVersion']}). The object might have been modified"
        )
    if what:
        kind = qualified(resource.kind, resource.group)
        text = f"Operation cannot be fulfilled on {kind} {quoted(metadata['name'])}: {what}"
        raise ApiError(409, "Conflict", text, details_of(resource.group, resource.kind, metadata["name"]))


def _begun(tree: Tree) -> str:
    """The policy that the object's finalizers stand for already."""
    held = tree["metadata"].get("finalizers") or ()
    return next((policy for policy in ("Orphan", "Foreground") if FINALIZERS[policy] in held), "")


def _finalizers(tree: Tree, policy: str) -> list[str]:
    """The finalizers that the propagation policy leads to."""
    kept = [name for name in tree["metadata"].get("finalizers") or () if name not in (FOREGROUND, ORPHAN)]
    added = FINALIZERS[policy]
    return [*kept, added] if added else kept


def _set_finalizers(tree: Tree, finalizers: list[str]) -> None:
    if finalizers:
        tree["metadata"]["finalizers"] = finalizers
    else:
        tree["metadata"].pop("finalizers", None)


def _grace(call: Call, tree: Tree, options: Options) -> int:
    """Seconds that the object gets."""
    seconds = call.served.resource.graceful_seconds
    return 0 if seconds is None else seconds(tree, options.grace_seconds)


def _mark(tree: Tree, now: datetime, grace: int) -> None:
    """Deletion was asked for; it happens when grace and finalizers are over."""
    metadata = tree["metadata"]
    if metadata.get("deletionTimestamp"):
        return
    metadata["deletionTimestamp"] = rfc3339(now + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation"):
        metadata["generation"] += 1


def _hurry(
    core: Core,
    call: Call,
    transaction: Transaction,
    key: str,
    entry: Entry,
    tree: Tree,
    grace: int,
    now: datetime,
    finalizers: list[str],
) -> Deleted:
    """A second delete may shorten the grace of the first, not lengthen it."""
    served, metadata = call.served, tree["metadata"]
    former = metadata["deletionGracePeriodSeconds"]
    if grace >= former:
        return Deleted(entry, gone=False)
    if not grace and not finalizers:
        return _gone(core, call, transaction, key, tree, now)
    begun = datetime.fromisoformat(metadata["deletionTimestamp"]) - timedelta(seconds=former)
    metadata["deletionTimestamp"] = rfc3339(max(begun + timedelta(seconds=grace), now))
    metadata["deletionGracePeriodSeconds"] = grace
    return Deleted(transaction.put(served.collection, key, served.kept(tree)), gone=False)


def _remove_namespace(core: Core, call: Call, transaction: Transaction, key: str, entry: Entry, tree: Tree) -> Deleted:
    """A namespace is emptied first: it goes when its own finalizers and those of its metadata are gone."""
    served, metadata = call.served, tree["metadata"]
    if not metadata.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = rfc3339(core.clock.now())
        tree["status"] = {**(tree.get("status") or {}), "phase": "Terminating"}
    elif (tree.get("spec") or {}).get("finalizers") or metadata.get("finalizers"):
        return Deleted(entry, gone=False)
    if not (tree.get("spec") or {}).get("finalizers") and not metadata.get("finalizers"):
        return Deleted(transaction.delete(served.collection, key), gone=True)
    return Deleted(transaction.put(served.collection, key, served.kept(tree)), gone=False)
