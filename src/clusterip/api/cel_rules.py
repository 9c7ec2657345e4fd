"""x-kubernetes-validations: a schema's rules, judged themselves and asked of objects.

Stage: none; pure.  In: schemas, objects, the objects that were before.  Out: field errors in upstream's words.
Rules: a rule without oldSelf is not asked of what did not change; one with oldSelf only where there is something to
       compare with: properties, keys of maps, items of lists of type map.
Limits: what a rule costs is estimated when it is defined, not counted when it is asked;
        times and durations behind a macro's variable are texts (timestamp(x.at) works).
Truth: apiextensions-apiserver, pkg/apiserver/schema/cel and pkg/apis/apiextensions/validation; KEP-2876.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from clusterip.api import cel, cel_paths, cel_sizes
from clusterip.api.cel import CelError, Program
from clusterip.api.cel_budget import Spending
from clusterip.api.errors import Bare, FieldError, duplicate, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree
from clusterip.api.structural import EMBEDDED, INT_OR_STRING

RULES: Final = "x-kubernetes-validations"
ROOT: Final = "<nil>"
REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_RESERVED = (
    "true false null in as break const continue else for function if import let loop package namespace return var"
)
WORDS_OF_CEL: Final = frozenset((*_RESERVED.split(), "void", "while"))
NO_OVERLOAD: Final = "'{}': call arguments did not match a supported operator, function or macro signature for rule: {}"
ESCAPES: Final = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
GO_FIELDS: Final = (
    ("Rule", "rule", ""),
    ("Message", "message", ""),
    ("MessageExpression", "messageExpression", ""),
    ("Reason", "reason", None),
    ("FieldPath", "fieldPath", ""),
    ("OptionalOldSelf", "optionalOldSelf", None),
)
_QUOTED: Final = re.compile(r"\['([^']*)'\]")
UNCORRELATABLE: Final = "oldSelf cannot be used on the uncorrelatable portion of the schema within {}"
NOT_CHECKED: Final = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
BLOCKING: Final = (
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
    "FieldValueNotSupported",
)


# --- the rules themselves --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a definition rules stand."""

    path: str
    loose: str = ""
    """A list above, whose items have no past."""
    limit: int | None = 1
    """How often a value can be here; None: as often as a request has room."""

    def below(self, name: str, schema: Tree, *, has_past: bool = True) -> Place:
        loose = self.loose if has_past else self.loose or self.path
        return Place(f"{self.path}.{name}", loose, cel_sizes.times(self.limit, schema))


def faults(schema: Tree, path: str, *, is_unchanged: bool = False) -> Iterator[FieldError]:
    """What is wrong with the rules of a schema and of all below it; of an unchanged one no rule is too dear."""
    spending = Spending(is_unchanged)
    yield from _faults({**schema, EMBEDDED: True}, Place(path), spending)
    yield from spending.total(path)


def _faults(schema: Tree, place: Place, spending: Spending) -> Iterator[FieldError]:
    path = place.path
    for index, rule in enumerate(schema.get(RULES) or ()):
        where = f"{path}.{RULES}[{index}]"
        wrong = list(_form(rule, schema, where))
        yield from wrong
        if not wrong and cel.is_available():
            yield from _compilation(rule, schema, where, place, spending)
    for name, inner in (schema.get("properties") or {}).items():
        yield from _faults(inner, place.below(f"properties[{name}]", schema), spending)
    for below in ("items", "additionalProperties"):
        if isinstance(schema.get(below), dict):
            has_past = below != "items" or schema.get("x-kubernetes-list-type") == "map"
            yield from _faults(schema[below], place.below(below, schema, has_past=has_past), spending)


def has_rules(schema: Tree) -> bool:
    """Whether a schema has rules anywhere."""
    inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return bool(schema.get(RULES)) or any(has_rules(each) for each in inner if isinstance(each, dict))


def _form(rule: Tree, schema: Tree, where: str) -> Iterator[FieldError]:
    text, message = rule.get("rule") or "", rule.get("message") or ""
    if not text.strip():
        yield required(f"{where}.rule", "rule is not specified")
    elif message and not message.strip():
        yield invalid(f"{where}.message", message, "must be non-empty if specified")
    elif "\n" in message.strip():
        yield invalid(f"{where}.message", message, "must not contain line breaks")
    elif "\n" in text.strip() and not message.strip():
        yield required(f"{where}.message", "message must be specified if rule contains line breaks")
    if rule.get("messageExpression") and not rule["messageExpression"].strip():
        yield required(f"{where}.messageExpression", "messageExpression must be non-empty if specified")
    if rule.get("reason") is not None and rule["reason"] not in REASONS:
        yield not_supported(f"{where}.reason", rule["reason"], REASONS)
    if rule.get("fieldPath") and not rule["fieldPath"].strip():
        yield invalid(f"{where}.fieldPath", rule["fieldPath"], "must be non-empty if specified")
    if rule.get("fieldPath") and not cel_paths.is_path(rule["fieldPath"], schema):
        yield invalid(f"{where}.fieldPath", rule["fieldPath"], "must be a valid path")


def _compilation(rule: Tree, schema: Tree, where: str, place: Place, spending: Spending) -> Iterator[FieldError]:
    kind = cel_sizes.declared(schema, escaped)
    compares = False
    try:
        program = _program(rule, schema)
        if missing := cel_paths.undefined(rule["rule"], schema):
            raise CelError(missing)
        compares = "oldSelf" in program.names
        yield from spending.rule(f"{where}.rule", program, kind, place.limit)
        yield from _message_faults(rule, schema, where, spending)
    except CelError as error:
        text = str(error)
        yield invalid(f"{where}.rule", _shown(rule), text if text.startswith("compil") else f"cel expression {text}")
    if compares and place.loose:
        yield invalid(f"{where}.rule", rule["rule"], UNCORRELATABLE.format(place.loose))
    if rule.get("optionalOldSelf") is not None and not compares:
        yield invalid(
            f"{where}.optionalOldSelf", rule["optionalOldSelf"], "may not be set if oldSelf is not used in rule"
        )


def _message_faults(rule: Tree, schema: Tree, where: str, spending: Spending) -> Iterator[FieldError]:
    try:
        said = _message_program(rule, schema)
    except CelError as error:
        yield invalid(f"{where}.messageExpression", _shown(rule), f"messageExpression {error}")
    else:
        yield from spending.message(f"{where}.messageExpression", said, cel_sizes.declared(schema, escaped))


def _shown(rule: Tree) -> Tree:
    """A rule as Go shows it."""
    return {go: rule.get(name, empty) for go, name, empty in GO_FIELDS}


def _variables(schema: Tree) -> tuple[tuple[str, str], ...]:
    kind = cel.kind_of(schema)
    return (("hasOldSelf", "BOOL"), ("knownOldSelf", kind), ("oldSelf", kind), ("self", kind))


def _program(rule: Tree, schema: Tree) -> Program:
    text = cel_paths.typed(rule["rule"], schema)
    if rule.get("optionalOldSelf") and "oldSelf" in cel.names_in(text):
        return cel.compiled(f"{cel.OPTIONAL_OLD}{text})", _variables(schema), "BOOL")
    return cel.compiled(text, _variables(schema), "BOOL")


def _message_program(rule: Tree, schema: Tree) -> Program | None:
    text = rule.get("messageExpression")
    return cel.compiled(text, _variables(schema), "STRING") if text else None


# --- objects ---------------------------------------------------------------------------------------------------------


def errors(tree: Tree, old: Tree | None, schema: Tree, found: list[FieldError]) -> list[FieldError]:
    """The faults that a schema's rules find, beside those that were found already."""
    if not has_rules(schema) or not cel.is_available():
        return []
    if any(error.type in BLOCKING for error in found):
        return [invalid(ROOT, None, NOT_CHECKED)]
    return list(_judged(tree, old, {**schema, EMBEDDED: True}, ""))


def default_errors(value: Any, schema: Tree) -> list[FieldError]:
    """The faults that a schema's rules find in its default."""
    return list(_judged(value, None, schema, "")) if has_rules(schema) and cel.is_available() else []


def _judged(value: Any, old: Any, schema: Tree, path: str) -> Iterator[FieldError]:
    if value is None:
        return
    if schema.get(RULES):
        yield from _asked(value, old, schema, path)
    if isinstance(value, dict):
        properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
        before = old if isinstance(old, dict) else {}
        for key, inner in value.items():
            below = properties.get(key, more)
            if isinstance(below, dict):
                where = f"{path}.{key}" if path else key
                yield from _judged(inner, before.get(key), below, where if key in properties else f"{path}[{key}]")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        before_of = _correlated(old, schema)
        for index, item in enumerate(value):
            yield from _judged(item, before_of.get(_key(item, schema)), schema["items"], f"{path}[{index}]")


def _correlated(old: Any, schema: Tree) -> dict[Any, Any]:
    """Items that were there before, by their keys; only lists of type map have such."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return {}
    return {_key(item, schema): item for item in old}


def _key(item: Any, schema: Tree) -> Any:
    if not isinstance(item, dict):
        return None
    return tuple(repr(item.get(key)) for key in schema.get("x-kubernetes-list-map-keys") or ())


def _asked(value: Any, old: Any, schema: Tree, path: str) -> Iterator[FieldError]:
    variables: Tree = {"self": seen(value, schema)}
    before = seen(old, schema) if old is not None else None
    if before is not None:
        variables["oldSelf"] = variables["knownOldSelf"] = before
    variables["hasOldSelf"] = before is not None
    for rule in schema[RULES]:
        compares = "oldSelf" in cel.names_in(rule.get("rule") or "")
        if compares and old is None and not rule.get("optionalOldSelf"):
            continue
        if not compares and old is not None and old == value:
            continue
        error = _answer(rule, schema, variables, value, path)
        if error is not None:
            yield error


def _answer(rule: Tree, schema: Tree, variables: Tree, value: Any, path: str) -> FieldError | None:
    kind = schema.get("type") or ""
    said = (rule.get("message") or rule["rule"]).strip()
    where = path or ROOT
    try:
        if _program(rule, schema).ask(variables) is True:
            return None
    except CelError as error:
        text = str(error)
        if text.startswith("no such overload"):
            return invalid(where, kind, NO_OVERLOAD.format(text, said))
        if text.startswith("compilation failed"):
            return invalid(where, kind, f"rule compile error: {text}")
        return invalid(where, kind, f"{text} evaluating rule: {said}")
    if rule.get("fieldPath"):
        named = _QUOTED.sub(r"[\1]", rule["fieldPath"].strip())
        where = f"{path}{named}".lstrip(".")
    return _refusal(rule, kind, where, value, _message(rule, schema, variables))


def _message(rule: Tree, schema: Tree, variables: Tree) -> str:
    """The expression's text where it gives a good one, else the message, else the rule."""
    try:
        program = _message_program(rule, schema)
        text = program.ask(variables) if program else ""
    except CelError:
        text = ""
    if isinstance(text, str) and text.strip() and "\n" not in text.strip():
        return text.strip()
    message = (rule.get("message") or "").strip()
    return message or f"failed rule: {rule['rule'].strip()}"


def _refusal(rule: Tree, kind: str, where: str, value: Any, detail: str) -> FieldError:
    reason = rule.get("reason") or "FieldValueInvalid"
    if reason == "FieldValueForbidden":
        return forbidden(where, detail)
    if reason == "FieldValueRequired":
        return required(where, detail)
    if kind in ("object", "array"):
        return Bare(reason, where, "" if reason == "FieldValueDuplicate" else detail)
    return duplicate(where, value) if reason == "FieldValueDuplicate" else invalid(where, value, detail)


# --- values as rules see them ----------------------------------------------------------------------------------------


def seen(value: Any, schema: Tree) -> Any:
    """A value with names that CEL can say and numbers of the declared type; what the schema lacks is not there."""
    if isinstance(value, dict):
        return _object(value, schema)
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [seen(item, items) for item in value]
    if schema.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if schema.get("type") == "integer" and isinstance(value, float):
        return int(value)
    return value if not schema.get(INT_OR_STRING) or not isinstance(value, float) else int(value)


def _object(value: Tree, schema: Tree) -> Tree:
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    found: Tree = {}
    if schema.get(EMBEDDED):
        found = {key: value[key] for key in ("apiVersion", "kind") if key in value}
        metadata = value.get("metadata") or {}
        found["metadata"] = {key: metadata[key] for key in ("name", "generateName") if key in metadata}
    for key, inner in value.items():
        if key in found and schema.get(EMBEDDED):
            continue
        if key in properties:
            name = escaped(key)
            if name:
                found[name] = seen(inner, properties[key])
        elif isinstance(more, dict):
            found[key] = seen(inner, more)
        elif more is True:
            found[key] = inner
    return found


def escaped(name: str) -> str:
    """A property's name as rules say it; "" for one that no rule can name."""
    if name in WORDS_OF_CEL:
        return f"__{name}__"
    for text, escape in ESCAPES:
        name = name.replace(text, escape) if text != "__" else name.replace("__", "__underscores__")
    return name if _IDENTIFIER.fullmatch(name) else ""
