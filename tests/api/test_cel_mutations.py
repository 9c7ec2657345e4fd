"""Objects in expressions become maps."""

from __future__ import annotations

import pytest

from clusterip.api import cel
from clusterip.api.cel_mutations import compiled, plain


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Object{spec: Object.spec{replicas: 1}}", '{"spec": {"replicas": 1}}'),
        ('Object{a: {"b": c ? d : e}}', '{"a": {"b": c ? d : e}}'),
        ("Object{?a: optional.none(), `in`: 1}", '{?"a": optional.none(),"in": 1}'),
        ("'Object{a: 1}' + \"b{c: 1}\"", "'Object{a: 1}' + \"b{c: 1}\""),
        (
            '[JSONPatch{op: "add", path: "/a", value: Object.spec{b: 1}}]',
            '[{"op": "add","path": "/a","value": {"b": 1}}]',
        ),
        ("object.x.map(c, Object.y{n: c.n ? 1 : 2})", 'object.x.map(c, {"n": c.n ? 1 : 2})'),
    ],
)
def test_objects_are_maps(text: str, told: str) -> None:
    assert plain(text) == told


def test_a_type_has_the_name_of_its_field() -> None:
    with pytest.raises(cel.CelError, match="type mismatch"):
        plain("Object{spec: Object.metadata{a: 1}}")


@pytest.mark.skipif(not cel.is_available(), reason="no CEL here")
def test_programs() -> None:
    seen = dict.fromkeys(("object", "oldObject", "request", "params", "namespaceObject", "variables", "authorizer"))
    seen |= {"authorizerRequestResource": None, "object": {"spec": {"a": [{"n": "x"}]}}}
    program = compiled("Object{spec: Object.spec{a: object.spec.a.map(c, Object.spec.a{n: c.n + '!'})}}")
    assert program.ask(seen) == {"spec": {"a": [{"n": "x!"}]}}
    escaped = compiled('[JSONPatch{op: "remove", path: "/a/" + jsonpatch.escapeKey("b/~c")}]').ask(seen)
    assert escaped == [{"op": "remove", "path": "/a/b~1~0c"}]
    with pytest.raises(cel.CelError):
        compiled("Object{")
