"""The build hook: what it writes is what the package reads."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def hook(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "gotypes.txt").write_text((module.API / "gotypes.txt").read_text())
    monkeypatch.setattr(module, "API", tmp_path)
    return module


def test_both_files_are_written_and_the_same_as_those_in_use(hook):
    pytest.importorskip("kubernetes_validate")
    schema, descriptions = hook.write()
    assert schema.read_bytes() == (ROOT / "src/clusterip/api/schema.json").read_bytes()
    assert schema.stat().st_size < 250_000
    assert json.loads(descriptions.read_text()).keys() == json.loads(schema.read_text()).keys()


def test_a_fact_is_taken_apart(hook):
    assert hook._fact("appProtocol*") == ("appProtocol", ("*", ""))
    assert hook._fact("type*!:v1.ServiceType") == ("type", ("*!", "v1.ServiceType"))
    assert hook._fact("creationTimestamp0") == ("creationTimestamp", ("0", ""))
    assert hook._fact("name") == ("name", ("", ""))


def test_every_fact_is_about_a_field_that_there_is(hook):
    schema = json.loads((ROOT / "src/clusterip/api/schema.json").read_text())
    facts = hook._facts((hook.API / "gotypes.txt").read_text())
    unknown = [f"{name}.{field}" for name, fields in facts.items() if name in schema for field in fields
               if field not in schema[name].get("f", {})]  # fmt: skip
    assert unknown == []
