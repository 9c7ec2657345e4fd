"""Write the schema of Kubernetes 1.36 into the package, compactly.

Stage: build.  In: PyPI's kubernetes-validate (OpenAPI definitions of every built-in kind) and gotypes.txt (what
OpenAPI does not say of upstream's Go types).  Out: api/schema.json (structure, small, read at run time) and
api/descriptions.json (texts, read for OpenAPI only).  Neither is committed.  `python hatch_build.py` runs it by hand.

A definition in schema.json is {"f": {field: node}, "gvk": [[group, version, kind], ...]}; one that is no structure is
a node itself.  A node has "t", its type: string int32 int64 bool double bytes time microtime quantity intstr raw any
list map ref; and
    of    what a list or map holds (a node)              ref   the definition's name
    r     required                                       w     always written, empty or not (no omitempty in Go)
    z     left out of an object when empty (omitzero)    p     a pointer in Go: a zero is not the same as nothing
    lt k  list type, its map keys                        mt    map type (atomic, granular)
    ps pk patch strategy, patch merge key                go    the Go type that errors name, if not the plain one
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand where hatchling is not installed
    BuildHookInterface = object  # type: ignore[assignment, misc]

ROOT = Path(__file__).resolve().parent
API = ROOT / "src" / "clusterip" / "api"
SOURCE = Path("kubernetes-json-schema", "v1.36.0-local", "_definitions.json")

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
SERVED = (
    "io.k8s.api.core.v1.",
    "io.k8s.api.apps.v1.",
    "io.k8s.api.batch.v1.",
    "io.k8s.api.discovery.v1.",
    "io.k8s.api.networking.v1.",
    "io.k8s.api.coordination.v1.",
    "io.k8s.api.events.v1.",
    "io.k8s.api.rbac.v1.",
    "io.k8s.api.authentication.v1.",
    "io.k8s.api.authorization.v1.",
    "io.k8s.api.admissionregistration.v1.",
    "io.k8s.api.autoscaling.v1.",
    "io.k8s.api.autoscaling.v2.",
    "io.k8s.api.policy.v1.",
    "io.k8s.api.scheduling.v1.",
    "io.k8s.api.storage.v1.",
    "io.k8s.api.node.v1.",
    "io.k8s.api.certificates.v1.",
    "io.k8s.api.flowcontrol.v1.",
    "io.k8s.api.resource.v1.",
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.",
    EXTENSIONS,
    META,
)

# Definitions that Go decodes by hand.
SPECIAL = {
    META + "Time": "time",
    META + "MicroTime": "microtime",
    META + "FieldsV1": "raw",
    META + "Patch": "any",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "raw",
    EXTENSIONS + "JSON": "any",
    EXTENSIONS + "JSONSchemaPropsOrArray": "any",
    EXTENSIONS + "JSONSchemaPropsOrBool": "any",
    EXTENSIONS + "JSONSchemaPropsOrStringArray": "any",
}
SCALARS = {
    ("string", None): "string",
    ("string", "byte"): "bytes",
    ("integer", "int32"): "int32",
    ("integer", "int64"): "int64",
    ("integer", None): "int64",
    ("number", "double"): "double",
    ("boolean", None): "bool",
}
VALUE_NAMES = frozenset({"metadata", "spec", "status", "template"})  # optional structures that are no pointers

Definitions = dict[str, Any]


def write() -> tuple[Path, Path]:
    """Both files, made anew."""
    definitions = json.loads(_source().read_text())["$defs"]
    facts = _facts((API / "gotypes.txt").read_text())
    names = sorted(_reachable(definitions, (n for n in definitions if n.startswith(SERVED))))
    schema = {name: _definition(name, definitions[name], facts.get(name, {})) for name in names}
    texts = {name: _descriptions(definitions[name]) for name in names}
    return _dump(API / "schema.json", schema), _dump(API / "descriptions.json", texts)


def _source() -> Path:
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise SystemExit("kubernetes-validate is not installed: pip install kubernetes-validate==1.37.0")
    return Path(spec.origin).parent / SOURCE


def _dump(path: Path, tree: Any) -> Path:
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
    return path


def _facts(text: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Definition -> field -> (marks, Go type)."""
    out: dict[str, dict[str, tuple[str, str]]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, *words = line.split(" ")
            out[name] = dict(map(_fact, words))
    return out


def _fact(word: str) -> tuple[str, tuple[str, str]]:
    left, _, go_type = word.partition(":")
    field = left.rstrip("*=!~0")
    return field, (left[len(field) :], go_type)


def _reachable(definitions: Definitions, roots: Iterable[str]) -> set[str]:
    found: set[str] = set()
    queue = list(roots)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += re.findall(r'"#/\$defs/([^"]+)"', json.dumps(definitions[name]))
    return found


def _definition(name: str, source: Any, facts: dict[str, tuple[str, str]]) -> Any:
    if name in SPECIAL:
        return {"t": SPECIAL[name]}
    if "properties" not in source and _type(source) != "object":
        return _node(source)
    required = set(source.get("required", ()))
    fields = {
        field: _field(field, node, field in required, facts.get(field, ("", "")))
        for field, node in source.get("properties", {}).items()
    }
    out: dict[str, Any] = {"f": fields}
    if kinds := source.get("x-kubernetes-group-version-kind"):
        out["gvk"] = [[k["group"], k["version"], k["kind"]] for k in kinds]
    if source.get("x-kubernetes-map-type"):
        out["mt"] = source["x-kubernetes-map-type"]
    return out


def _field(field: str, source: Any, required: bool, fact: tuple[str, str]) -> Any:
    marks, go_type = fact
    out = _node(source)
    pointer = "*" in marks or ("=" not in marks and _is_usually_pointer(field, out, required))
    written = (required and "~" not in marks) or "!" in marks
    flags = {"r": required, "w": written, "z": "0" in marks, "p": pointer}
    return {**out, **{k: 1 for k, v in flags.items() if v}, **({"go": go_type} if go_type else {})}


def _is_usually_pointer(field: str, node: Any, required: bool) -> bool:
    if node["t"] == "ref":
        return not required and field not in VALUE_NAMES
    return node["t"] in ("quantity", "intstr", "microtime", "any", "raw") and not required


def _node(source: Any) -> dict[str, Any]:
    return {**_shape(source), **_merge_rules(source)}


def _shape(source: Any) -> dict[str, Any]:
    if "$ref" in source:
        name = source["$ref"].rpartition("/")[2]
        return {"t": SPECIAL[name]} if name in SPECIAL else {"t": "ref", "ref": name}
    kind = _type(source)
    if kind == "array":
        return {"t": "list", "of": _node(source["items"])}
    if kind == "object":
        inner = source.get("additionalProperties")
        return {"t": "map", "of": _node(inner)} if inner else {"t": "raw"}
    return {"t": SCALARS[kind, source.get("format")] if kind else "any"}


def _type(source: Any) -> str | None:
    kind = source.get("type")
    return kind[0] if isinstance(kind, list) else kind


MERGE_RULES = {
    "x-kubernetes-list-type": "lt",
    "x-kubernetes-list-map-keys": "k",
    "x-kubernetes-map-type": "mt",
    "x-kubernetes-patch-strategy": "ps",
    "x-kubernetes-patch-merge-key": "pk",
}


def _merge_rules(source: Any) -> dict[str, Any]:
    """How lists and maps merge; the type "atomic" of bytes is no rule."""
    if source.get("format") == "byte":
        return {}
    return {short: source[long] for long, short in MERGE_RULES.items() if long in source}


def _descriptions(source: Any) -> dict[str, str]:
    texts = {field: node.get("description", "") for field, node in source.get("properties", {}).items()}
    return {k: v for k, v in {"": source.get("description", ""), **texts}.items() if v}


class SchemaHook(BuildHookInterface):  # type: ignore[type-arg, misc]
    """hatchling's hook: the files are there before a wheel or an editable install is made."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "sdist":
            return
        for path in write():
            build_data["artifacts"].append(path.relative_to(ROOT).as_posix())


if __name__ == "__main__":
    for written in write():
        print(f"{written.relative_to(ROOT)}: {written.stat().st_size} bytes", file=sys.stderr)
