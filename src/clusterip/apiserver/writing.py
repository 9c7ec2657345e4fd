"""create, update and patch: one line of steps for every kind.

Stage: decide, inside the write path.  In: a Call and a body.  Out: an Entry that is committed, or an ApiError.
Steps: decode, default, managed fields, admission, strategy, metadata, allocation, validation, completion.
Rules: operations run again after a failed group, so each run reads its body anew.
Truth: apiserver's registry/generic/registry/store.go and endpoints/handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from clusterip.api import patch as patches
from clusterip.api import validation
from clusterip.api.allocation import plan_allocation
from clusterip.api.completion import complete
from clusterip.api.errors import ApiError, FieldError
from clusterip.api.jsontext import in_order
from clusterip.api.meta import Tree
from clusterip.api.resource import Resource
from clusterip.api.schema import UnknownDefinition
from clusterip.apiserver import admission, applying, bodies, holdings, objects, options, webhooks
from clusterip.apiserver.bodies import Body
from clusterip.apiserver.cache import Entry, encode
from clusterip.apiserver.conversion import fetched
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.registry import Served
from clusterip.apiserver.webhooks_pending import replayed, settled
from clusterip.apiserver.writes import Operation, Transaction
from clusterip.transport.answers import Response

JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
GENERATED_TRIES = 8
ENVELOPE = frozenset({"apiVersion", "kind", "metadata"})

Edit = Callable[[Tree], Tree]
"""The object as it is, the caller's own (-> what it shall be)."""


@dataclass(slots=True)
class Written:
    """What a write answers: the object, and whether it came to be."""

    entry: Entry
    created: bool = False


def apply_patch(media: str, old: Tree, document: Any, schema: str, *, shares: bool = False) -> Tree:
    """The object that a patch of this type makes; it may share with the old one what the patch does not speak of."""
    if media == JSON_PATCH:
        return patches.json_patch(old, document, shares=shares)
    if media == MERGE_PATCH:
        return patches.merge_patch(old, document, shares=shares)
    return patches.strategic_merge(old, document, schema, shares=shares)


async def create(core: Core, call: Call) -> Response:
    body = await bodies.read(call.request)
    bodies.check_media(body)
    check_options(call, "CreateOptions")
    entry = await commit(core, call, lambda transaction: _create(core, call, body, transaction))
    return await _answered(core, call, entry, 201)


async def update(core: Core, call: Call) -> Response:
    body = await bodies.read(call.request)
    bodies.check_media(body)
    check_options(call, "UpdateOptions")

    def operation(transaction: Transaction) -> Written:
        old = transaction.get(call.served.collection, call.key)
        if old is None and call.served.resource.create_on_update and not call.subresource:
            return Written(_create(core, call, body, transaction, name=call.name), created=True)
        return Written(change(core, call, transaction, lambda tree: _put(core, call, body, tree)))

    written = await commit(core, call, operation)
    return await _answered(core, call, written.entry, 201 if written.created else 200)


async def patch(core: Core, call: Call) -> Response:
    body = await bodies.read(call.request)
    if body.media == applying.MEDIA:
        return await _apply(core, call, body)
    if body.media not in PATCH_TYPES or (body.media == STRATEGIC_PATCH and call.served.resource.is_custom):
        types = (JSON_PATCH, MERGE_PATCH, applying.MEDIA)
        raise ApiError.unsupported_media_type(types if call.served.resource.is_custom else None)
    check_options(call, "PatchOptions")
    shares = call.served.resource.decode is None
    written = await commit(
        core, call, lambda transaction: change(core, call, transaction, _patching(call, body, shares), shares=shares)
    )
    return await _answered(core, call, written)


async def _answered(core: Core, call: Call, entry: Entry, status: int = 200) -> Response:
    """The object that was written, as the caller sees objects; where another has to be asked how, that is awaited."""
    if call.served.converter is None:
        return call.answer(call.shown(core, entry), status)
    return call.answer(await fetched(lambda: call.shown(core, entry)), status)


async def _apply(core: Core, call: Call, body: Body) -> Response:
    """Server-side apply: an object that is not there comes to be."""
    check_options(call, "PatchOptions", applies=True)

    def operation(transaction: Transaction) -> Written:
        if call.subresource or transaction.get(call.served.collection, call.key) is not None:
            return Written(change(core, call, transaction, edit, is_managed=True))
        tree = edit(None)
        return Written(bring_to_life(core, call, transaction, tree, is_managed=True), created=True)

    def edit(old: Tree | None) -> Tree:
        made = applying.applied(call, body, old, core.clock.now())
        applying.judge_equal_keys(call, body)
        new = decoded(call, made)
        objects.settle_namespace(new, call.namespace)
        objects.settle_name(new, call.name)
        return new

    written = await commit(core, call, operation)
    return await _answered(core, call, written.entry, 201 if written.created else 200)


async def commit(core: Core, call: Call, operation: Operation[objects.T], dry_run: bool | None = None) -> objects.T:
    """The operation's answer, once it is durable; a dry run's at once (None: as the parameters say)."""

    def fresh(transaction: Transaction) -> objects.T:
        call.warnings.clear()
        if call.served.resource.deprecation:
            call.warnings.append(call.served.resource.deprecation)
        return operation(transaction)

    return await decide(core, call, fresh, call.dry_run if dry_run is None else dry_run)


async def decide(core: Core, call: Call, operation: Operation[objects.T], dry_run: bool) -> objects.T:
    """As commit, of an operation that may be one of several of its call."""

    def again(transaction: Transaction) -> objects.T:
        if call.consulted is None:
            return operation(transaction)
        with replayed(core, call.consulted):
            return operation(transaction)

    async def run() -> objects.T:
        return core.writes.try_out(again) if dry_run else await core.writes.do(again)

    return await settled(core, call, run)


def check_options(call: Call, kind: str, *, applies: bool = False) -> None:
    """dryRun, fieldManager, fieldValidation and force."""
    if not call.query and not applies:
        return
    problems = options.write_problems(call.query, call.request.values("dryRun"), kind, applies=applies)
    if problems:
        raise ApiError.invalid("meta.k8s.io", kind, "", problems)


def parsed(call: Call, body: Body) -> Tree:
    """The body's tree with the resource's structure, or 400."""
    tree = body.parse(call.served.resource.kind)
    return decoded(call, tree, strict=bodies.equal_keys(body, tree), ordered=partial(in_order, body.raw))


def decoded(
    call: Call,
    tree: Tree,
    *,
    strict: Sequence[str] = (),
    ordered: Callable[[list[str]], list[str]] | None = None,
    refuse: Callable[[str], ApiError] | None = None,
    converted: bool = False,
    but: Collection[str] = (),
) -> Tree:
    """The tree with the resource's structure, or 400; unknown fields are told as the caller asked."""
    resource = call.served.resource
    return bodies.decoded(
        tree,
        resource.kind,
        resource.api_version,
        resource.schema,
        call.query.get("fieldValidation", ""),
        call.warnings.append,
        strict=strict,
        ordered=ordered,
        refuse=refuse,
        converted=converted,
        own=resource.decode,
        but=but,
    )


def _create(core: Core, call: Call, body: Body, transaction: Transaction, name: str = "") -> Entry:
    tree = parsed(call, body)
    if not name:
        return bring_to_life(core, call, transaction, tree, had_revision=objects.has_revision(tree))
    objects.settle_name(tree, name)
    objects.check_uid(tree, {"metadata": {}}, call.served, call.key)
    return bring_to_life(core, call, transaction, tree)


def bring_to_life(
    core: Core,
    call: Call,
    transaction: Transaction,
    tree: Tree,
    *,
    had_revision: bool = False,
    is_managed: bool = False,
) -> Entry:
    """A new object, decoded, through all the steps into the transaction; one that says a revision is refused last.

    `is_managed`: its managedFields are made already.
    """
    resource = call.served.resource
    objects.settle_namespace(tree, call.namespace)
    now = core.clock.now()
    resource.default(tree)
    objects.begin_life(tree, now, core.random)
    call.warnings += objects.merge_equal_owners(tree)
    if not is_managed:
        tree["metadata"].pop("managedFields", None)
        objects.manage(None, tree, call.manager, call.subresource, resource.api_version, now, resource.schema)
    with core.numbers.step("admit", "CREATE", call):
        admission.admit_create(core, call, transaction, tree)
        webhooks.mutate(core, call, "CREATE", tree, None)
    resource.prepare_create(tree)
    serves = call.served.collection is core.registry.of("services")
    if serves:
        taken = core.holdings.taken(transaction)
        plan_allocation(tree, None, taken, core.holdings.ranges, core.random, dry=transaction.dry)
    objects.refuse(resource, tree["metadata"].get("name", ""), validation.creation_errors(resource, tree))
    call.warnings += resource.warnings(tree, None)
    _complete(call.served, tree)
    if had_revision and not call.dry_run:
        raise ApiError.unclassified("resourceVersion should not be set on objects to be created")
    with core.numbers.step("validate", "CREATE", call):
        admission.judge(core, call, transaction, tree, None)
        webhooks.validate(core, call, "CREATE", tree, None)
    entry = _put_new(core, call, transaction, tree)
    if serves:
        holdings.follow(core, transaction, None, tree)
    return entry


def _put_new(core: Core, call: Call, transaction: Transaction, tree: Tree) -> Entry:
    served, resource, metadata = call.served, call.served.resource, tree["metadata"]
    given = metadata["name"]
    for _ in range(GENERATED_TRIES):
        key = served.key(call.namespace, metadata["name"])
        there = transaction.get(served.collection, key)
        if there is None:
            return transaction.put(served.collection, key, served.kept(tree))
        prefix = metadata.get("generateName", "")
        if not prefix or not given.startswith(prefix) or len(given) != len(prefix[: objects.LONGEST - 5]) + 5:
            leaving = bool(there.tree()["metadata"].get("deletionTimestamp"))
            raise ApiError.already_exists(resource.group, resource.plural, given, leaving=leaving)
        metadata["name"] = prefix[: objects.LONGEST - objects.SUFFIX] + objects.suffix(core.random)
    raise ApiError.generated_name_taken(resource.group, resource.plural, given)


def _put(core: Core, call: Call, body: Body, old: Tree) -> Tree:
    """An update's body as the new object."""
    new = parsed(call, body)
    objects.settle_namespace(new, call.namespace)
    objects.settle_name(new, call.name)
    objects.check_uid(new, old, call.served, call.key)
    call.warnings += objects.merge_equal_owners(new)
    return new


def _patching(call: Call, body: Body, shares: bool) -> Edit:
    resource = call.served.resource

    def edit(old: Tree) -> Tree:
        document = bodies.parse_patch(body.raw)

        def patched() -> Tree:
            return apply_patch(body.media, old, document, resource.schema, shares=shares)

        def refuse(why: str) -> ApiError:
            return patches.refused(document, patched(), body.media == STRATEGIC_PATCH, why)

        made = patched()
        but = _unchanged(made, old) if shares else ()
        new = decoded(call, made, refuse=refuse, converted=body.media == STRATEGIC_PATCH, but=but)
        objects.settle_namespace(new, call.namespace)
        objects.settle_name(new, call.name)
        call.warnings += objects.merge_equal_owners(new, admitted=True)
        return new

    return edit


def _unchanged(new: Tree, old: Tree) -> set[str]:
    """The fields, beside the metadata, that an edit left to the old object: they have been through every step."""
    return {key for key, value in old.items() if key != "metadata" and new.get(key) is value}


def change(
    core: Core,
    call: Call,
    transaction: Transaction,
    edit: Edit,
    bare: bool = False,
    is_managed: bool = False,
    shares: bool = False,
) -> Entry:
    """An existing object, edited, through all the steps into the transaction; unchanged, it is not written.

    A bare edit is the server's own (a binding): the kind's strategy would take it back.  A managed one has made its
    managedFields itself.  One that shares is shown the old object itself, changes nothing in it, and gives it back
    where nothing is new.
    """
    served, resource = call.served, call.served.resource
    entry = transaction.get(served.collection, call.key)
    if entry is None:
        raise ApiError.not_found(resource.group, resource.plural, call.name)
    old = served.tree(entry)
    new = edit(old if shares else served.tree(entry))
    objects.check_revision(new, entry, resource, call.name)
    if bare:
        return _put_changed(call, transaction, entry, new, old)
    shared = _unchanged(new, old) if shares else set()
    if not (shares and shared >= (new.keys() | old.keys()) - ENVELOPE):
        resource.default(new)
    _settle(new, old, resource)
    if not is_managed:
        now = core.clock.now()
        objects.manage(old, new, call.manager, call.subresource, resource.api_version, now, resource.schema)
    with core.numbers.step("admit", "UPDATE", call):
        admission.admit_update(core, call, transaction, new, old)
        if webhooks.mutate(core, call, "UPDATE", new, old):
            _settle(new, old, resource)
    _prepare(call, new, old)
    if served.collection is core.registry.of("services") and not call.subresource:
        taken = core.holdings.taken(transaction)
        plan_allocation(new, old, taken, core.holdings.ranges, core.random, dry=transaction.dry)
    objects.refuse(resource, call.name, _update_errors(call, new, old))
    call.warnings += _update_warnings(call, new, old)
    _complete(served, new, _unchanged(new, old) if shares else ())
    with core.numbers.step("validate", "UPDATE", call):
        admission.judge(core, call, transaction, new, old)
        webhooks.validate(core, call, "UPDATE", new, old)
    if served.collection is core.registry.of("services"):
        holdings.follow(core, transaction, old, new)
    return _put_changed(call, transaction, entry, new, old)


def _settle(new: Tree, old: Tree, resource: Resource) -> None:
    """The metadata of an update: what it cannot change."""
    objects.carry_over(new, old, resource)
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]


def _prepare(call: Call, new: Tree, old: Tree) -> None:
    side = call.served.resource.subresources.get(call.subresource)
    if side is not None and side.prepare is not None:
        side.prepare(new, old)
    elif call.subresource == "status":
        call.served.resource.prepare_status(new, old)
    else:
        call.served.resource.prepare_update(new, old)


def _update_errors(call: Call, new: Tree, old: Tree) -> list[FieldError]:
    side = call.served.resource.subresources.get(call.subresource)
    if side is not None and side.validate is not None:
        return validation.side_errors(side.validate, new, old)
    check = validation.status_errors if call.subresource == "status" else validation.update_errors
    return check(call.served.resource, new, old)


def _update_warnings(call: Call, new: Tree, old: Tree) -> list[str]:
    if call.subresource == "status":
        return call.served.resource.status_warnings(new)
    return [] if call.subresource else call.served.resource.warnings(new, old)


def _complete(served: Served, tree: Tree, but: Collection[str] = ()) -> None:
    try:
        complete(tree, served.resource.schema, but)
    except UnknownDefinition:
        return


def _put_changed(call: Call, transaction: Transaction, entry: Entry, new: Tree, old: Tree) -> Entry:
    served = call.served
    if new == old:
        return entry
    if _is_finished(new, old):
        gone = transaction.delete(served.collection, call.key)
        return Entry(gone.key, encode(served.kept(new)), gone.revision, gone.created, gone.readers)
    return transaction.put(served.collection, call.key, served.kept(new))


def _is_finished(new: Tree, old: Tree) -> bool:
    """A deleted object goes when its last finalizer goes."""
    metadata, before = new["metadata"], old["metadata"]
    if not before.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if new.get("kind") == "Namespace":
        return not (new.get("spec") or {}).get("finalizers")
    return before.get("deletionGracePeriodSeconds") in (None, 0)
