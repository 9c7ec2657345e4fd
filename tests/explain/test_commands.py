"""What a person copies is one command, and a shell hands kubectl the JSON that was meant."""

from __future__ import annotations

import json
import shlex

from clusterip.explain.commands import applied, patched, removed, replaced
from explain.objects import service


def test_a_patch_of_the_spec() -> None:
    words = shlex.split(patched("service", service(), {"externalName": "it's.example"}))
    assert words[:-1] == ["kubectl", "-n", "shop", "patch", "service", "web", "-p"]
    assert json.loads(words[-1]) == {"spec": {"externalName": "it's.example"}}
    assert "--type=merge" in shlex.split(patched("service", service(), {"selector": None}, "merge"))


def test_a_patch_of_a_place() -> None:
    words = shlex.split(replaced(service(), "/spec/ports/1/port", "http"))
    assert words[-3:-1] == ["--type=json", "-p"]
    assert json.loads(words[-1]) == [{"op": "replace", "path": "/spec/ports/1/port", "value": "http"}]
    assert json.loads(shlex.split(removed(service(), "/spec/x"))[-1]) == [{"op": "remove", "path": "/spec/x"}]


def test_an_object_for_apply() -> None:
    words = shlex.split(applied({"kind": "Pod"}, "shop"))
    assert words == ["echo", '{"kind": "Pod"}', "|", "kubectl", "-n", "shop", "apply", "-f", "-"]
    assert shlex.split(applied({}))[3:] == ["kubectl", "apply", "-f", "-"]
