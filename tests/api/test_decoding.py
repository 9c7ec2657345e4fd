import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.answered import objects
from clusterip.api import schema
from clusterip.api.completion import complete
from clusterip.api.decoding import decode
from clusterip.api.meta import copied

POD = "io.k8s.api.core.v1.Pod"
SERVICE = "io.k8s.api.core.v1.Service"
CORE = "io.k8s.api.core.v1."


def test_every_recorded_object_is_decoded_and_completed_to_itself():
    seen = 0
    for label, kind, tree in objects():
        name = schema.kinds()[kind]
        got = decode(copied(tree), name)
        assert (got.unknown, got.error) == ([], ""), label
        assert complete(got.tree, name) == tree, label
        seen += 1
    assert seen > 100


# Texts as recorded from kube-apiserver, or as Go's decoder makes them.
@pytest.mark.parametrize(
    ("kind", "tree", "error"),
    [
        ("Service", {"spec": {"ports": [{"port": "eighty"}]}},
         "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32"),
        ("Service", {"metadata": {"name": True}},
         "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.name of type string"),
        ("Service", {"spec": {"ports": [{"port": 1.5}]}},
         "json: cannot unmarshal number 1.5 into Go struct field ServicePort.spec.ports.port of type int32"),
        ("Service", {"spec": {"ports": [{"port": 2**31}]}},
         "json: cannot unmarshal number 2147483648 into Go struct field ServicePort.spec.ports.port of type int32"),
        ("Service", {"spec": {"type": 1}},
         "json: cannot unmarshal number into Go struct field ServiceSpec.spec.type of type v1.ServiceType"),
        ("Service", {"spec": "x"},
         "json: cannot unmarshal string into Go struct field Service.spec of type v1.ServiceSpec"),
        ("Service", {"spec": {"ports": {}}},
         "json: cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort"),
        ("Service", {"spec": {"ipFamilies": ["IPv4", 6]}},
         "json: cannot unmarshal number into Go struct field ServiceSpec.spec.ipFamilies of type v1.IPFamily"),
        ("Service", {"metadata": {"labels": {"a": 1}}},
         "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"),
        ("Service", {"metadata": {"labels": []}},
         "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string"),
        ("Service", {"spec": {"publishNotReadyAddresses": "true"}},
         "json: cannot unmarshal string into Go struct field ServiceSpec.spec.publishNotReadyAddresses of type bool"),
        ("Service", {"spec": {"ports": [{"targetPort": True}]}},
         "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32"),
        ("Secret", {"data": {"u": "not base64!"}}, "illegal base64 data at input byte 3"),
        ("Secret", {"data": {"u": 1}},
         "json: cannot unmarshal number into Go struct field Secret.data of type []uint8"),
        ("Pod", {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}},
         "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ("Pod", {"metadata": {"creationTimestamp": "yesterday"}},
         'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"'),
        ("Pod", {"metadata": {"creationTimestamp": 5}},
         "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string"),
    ],
)  # fmt: skip
def test_type_errors_are_gos(kind, tree, error):
    assert decode(tree, CORE + kind).error == error


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"spec": {"ports": [{"port": "eighty"}]}}, "unrecognized type: int32"),
        ({"spec": {"type": 1}}, "cannot convert int64 to v1.ServiceType"),
        ({"spec": {"type": True}}, "unrecognized type: string"),
        ({"spec": {"ports": [{"port": 1.5}]}}, "cannot convert float64 to int32"),
        ({"spec": {"ports": {}}}, "cannot restore slice from map"),
        ({"spec": []}, "cannot restore struct from: slice"),
        ({"spec": {"selector": "x"}}, "cannot restore map from string"),
    ],
)
def test_type_errors_of_trees_are_apimachinerys(tree, text):
    assert decode(tree, SERVICE).conversion == text


def test_only_the_first_type_error_is_told():
    got = decode({"kind": 1, "spec": {"ports": "x"}}, SERVICE)
    assert got.error == "json: cannot unmarshal number into Go struct field Service.kind of type string"


def test_unknown_fields_are_named_by_path_and_dropped():
    tree = {
        "spec": {"prots": [1], "ports": [{"port": 80}, {"port": 81, "tragetPort": {"x": 1}}]},
        "metadata": {"labels": {"any": "thing"}, "nmae": "x"},
        "extra": None,
    }
    got = decode(tree, SERVICE)
    assert got.unknown == [
        'unknown field "spec.prots"',
        'unknown field "spec.ports[1].tragetPort"',
        'unknown field "metadata.nmae"',
        'unknown field "extra"',
    ]
    assert got.tree == {
        "spec": {"ports": [{"port": 80}, {"port": 81}]},
        "metadata": {"labels": {"any": "thing"}},
    }


def test_what_go_leaves_out_when_empty_is_left_out():
    tree = {
        "metadata": {
            "name": "a",
            "namespace": "",
            "labels": {},
            "finalizers": [],
            "generation": 0,
            "annotations": None,
        },
        "spec": {"hostNetwork": False, "nodeName": "", "terminationGracePeriodSeconds": 0, "enableServiceLinks": False},
    }
    assert decode(tree, POD).tree == {
        "metadata": {"name": "a"},
        "spec": {"terminationGracePeriodSeconds": 0, "enableServiceLinks": False},
    }


def test_empty_structures_stay():
    tree = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {}, "containers": []}}
    assert decode(copied(tree), POD).tree == tree


def test_nulls_in_lists_and_maps_are_zeroes():
    tree = {"spec": {"containers": [None, {"name": "c", "args": ["a", None]}], "nodeSelector": {"a": None}}}
    assert decode(tree, POD).tree == {
        "spec": {"containers": [{}, {"name": "c", "args": ["a", ""]}], "nodeSelector": {"a": ""}}
    }


def test_texts_with_a_meaning_are_written_upstreams_way():
    tree = {
        "metadata": {"creationTimestamp": "2026-01-02T05:04:05.123+02:00"},
        "spec": {"containers": [{"resources": {"limits": {"cpu": "0.5", "memory": "1024Ki", "x": 2}}}]},
    }
    got = decode(tree, POD)
    assert got.error == ""
    assert got.tree["metadata"]["creationTimestamp"] == "2026-01-02T03:04:05Z"
    assert got.tree["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Mi", "x": "2"}


def test_int_or_string_keeps_what_it_is():
    tree = {"spec": {"ports": [{"port": 1, "targetPort": "http"}, {"port": 2, "targetPort": 8080}]}}
    assert decode(copied(tree), SERVICE).tree == tree


def test_free_trees_are_not_looked_into():
    name = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    tree = {"managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {".": {}, "f:x": None}}}]}
    assert decode(copied(tree), name).tree == tree


def test_a_structure_that_holds_itself():
    name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    tree = {"type": "object", "properties": {"a": {"properties": {"b": {"type": "string", "tpye": 1}}}}}
    assert decode(tree, name).unknown == ['unknown field "properties.a.properties.b.tpye"']


BROKEN = {
    "ab": 0,
    "abc": 0,
    "abcde": 4,
    "abc!": 3,
    "a===": 1,
    "ab=c": 2,
    "abc=d": 4,
    "ab==c": 4,
    "ab=": 3,
    "Zm9v\u00e9": 4,
}


@pytest.mark.parametrize(("text", "position"), BROKEN.items())
def test_where_base64_breaks(text, position):
    assert decode({"data": {"k": text}}, CORE + "Secret").error == f"illegal base64 data at input byte {position}"


def test_base64_may_have_line_ends():
    assert decode({"data": {"k": "Zm9v\nYg==\r\n"}}, CORE + "Secret").tree == {"data": {"k": "Zm9vYg=="}}


FIELDS = ["spec", "metadata", "ports", "labels", "port", "targetPort", "name", "status", "clusterIPs", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(FIELDS),
        inner,
        max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["spec", "metadata", "status", "kind", "x"]), JSON))
def test_no_tree_breaks_the_decoder_and_what_is_decoded_is_a_fixed_point(tree):
    first = decode(tree, SERVICE)
    again = decode(copied(first.tree), SERVICE)
    assert again.tree == first.tree
    assert (again.unknown, again.error) == ([], "")
