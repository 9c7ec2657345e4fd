import pytest

from clusterip.api import schema
from clusterip.api.meta import GroupVersionKind
from clusterip.api.schema import UnknownDefinition, definition

SERVICE = "io.k8s.api.core.v1.Service"
SPEC = "io.k8s.api.core.v1.ServiceSpec"


def test_every_definition_can_be_made_and_refers_to_others_that_are_there():
    for name in schema.names():
        known = definition(name)
        for node in known.fields.values():
            inner = node
            while inner is not None:
                if inner.type == "ref":
                    definition(inner.ref)
                inner = inner.of


def test_how_lists_merge():
    fields = definition(SPEC).fields
    ports = fields["ports"]
    assert (ports.list_type, ports.keys, ports.strategies, ports.merge_key) == (
        "map",
        ("port", "protocol"),
        {"merge"},
        "port",
    )
    assert fields["clusterIPs"].is_atomic
    assert fields["selector"].is_atomic
    assert not ports.is_atomic
    assert definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").fields["finalizers"].list_type == "set"


def test_a_reference_is_atomic_when_what_it_refers_to_is_unless_it_says_otherwise():
    assert definition("io.k8s.api.core.v1.EndpointAddress").fields["targetRef"].is_atomic
    assert not definition("io.k8s.api.core.v1.PersistentVolumeSpec").fields["claimRef"].is_atomic


def test_what_openapi_does_not_say():
    fields = definition(SPEC).fields
    assert fields["internalTrafficPolicy"].pointer
    assert fields["internalTrafficPolicy"].go == "v1.ServiceInternalTrafficPolicy"
    assert not fields["type"].pointer
    assert fields["ipFamilies"].go == "[]v1.IPFamily"
    assert definition("io.k8s.api.core.v1.ServicePort").fields["port"].written


def test_kinds_are_found_by_group_and_version():
    assert schema.kinds()[GroupVersionKind("", "v1", "Service")] == SERVICE
    assert schema.kinds()[GroupVersionKind("apps", "v1", "Deployment")] == "io.k8s.api.apps.v1.Deployment"
    assert GroupVersionKind("", "v1", "DeleteOptions") not in schema.kinds()


def test_descriptions_are_apart():
    assert schema.descriptions(SERVICE)[""].startswith("Service is a named abstraction")
    schema.forget_descriptions()
    assert "spec" in schema.descriptions(SERVICE)


def test_a_definition_that_is_not_there():
    with pytest.raises(UnknownDefinition):
        definition("io.example.Nothing")
    assert not schema.is_known("io.example.Nothing")
