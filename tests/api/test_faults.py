import pytest

from clusterip.api import faults
from clusterip.api.faults import Found

PORT = ((((None, "spec"), "ports"), 0), "port")


def test_ways_to_a_value():
    assert faults.shown(PORT) == "spec.ports[0].port"
    assert faults.go_path(PORT, "ServicePort") == "spec.ports.port"
    assert faults.shown(((None, "data"), ("a.b",))) == "data.a.b"
    assert faults.go_path(((None, "data"), ("a.b",)), "ConfigMap") == "data"


def test_the_first_error_is_kept_with_both_of_its_texts():
    found = Found()
    found.mismatch("x", PORT, "ServicePort", "int32", "int32")
    found.refuse("later")
    found.mismatch(1, None, "", "string")
    assert found.error == "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32"
    assert found.conversion == "unrecognized type: int32"


def test_strict_errors_are_counted_up_to_a_hundred():
    found = Found()
    for n in range(150):
        found.unknown_field(None, f"f{n}")
    assert len(found.unknown) == faults.MOST_STRICT_ERRORS
    assert found.unknown[0] == 'unknown field "f0"'


@pytest.mark.parametrize(
    ("value", "go", "word"),
    [
        (True, "string", "bool"),
        (1, "string", "number"),
        (1, "int32", "number 1"),
        (1.5, "int64", "number 1.5"),
        ([], "bool", "array"),
        ({}, "bool", "object"),
    ],
)
def test_kinds_of_json(value, go, word):
    assert faults.go_kind(value, go) == word


def test_what_go_embeds_is_named() -> None:
    probe = (((((None, "containers"), 0), "livenessProbe"), "httpGet"), "path")
    assert faults.go_path(probe, "HTTPGetAction") == "containers.livenessProbe.ProbeHandler.httpGet.path"
    hook = (((((None, "containers"), 0), "preStop"), "httpGet"), "path")
    assert faults.go_path(hook, "HTTPGetAction") == "containers.preStop.httpGet.path"
    volume = ((((None, "volumes"), 0), "configMap"), "name")
    path = "volumes.VolumeSource.configMap.LocalObjectReference.name"
    assert faults.go_path(volume, "ConfigMapVolumeSource") == path
    assert faults.go_path((((None, "volumes"), 0), "name"), "Volume") == "volumes.name"
