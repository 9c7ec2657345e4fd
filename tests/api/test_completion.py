from hypothesis import given
from hypothesis import strategies as st

from api.answered import objects
from clusterip.api import schema
from clusterip.api.completion import complete, of_known
from clusterip.api.meta import copied


def test_what_go_always_writes():
    pod = complete(
        {"spec": {"containers": [{"env": [{"valueFrom": {"resourceFieldRef": {}}}]}]}}, "io.k8s.api.core.v1.Pod"
    )
    assert pod["metadata"] == {}
    assert pod["status"] == {}
    container = pod["spec"]["containers"][0]
    assert (container["name"], container["resources"]) == ("", {})
    assert container["env"][0]["valueFrom"]["resourceFieldRef"] == {"resource": "", "divisor": "0"}


def test_times_that_are_not_set_are_null():
    tree = complete({"status": {"conditions": [{"type": "Ready"}]}}, "io.k8s.api.core.v1.Pod")
    assert tree["status"]["conditions"] == [
        {"type": "Ready", "status": "", "lastProbeTime": None, "lastTransitionTime": None}
    ]
    assert "creationTimestamp" not in tree["metadata"]


def test_empty_lists_of_required_fields_are_null_after_storage():
    tree = complete({"endpoints": [], "ports": []}, "io.k8s.api.discovery.v1.EndpointSlice")
    assert (tree["endpoints"], tree["ports"]) == (None, None)


def test_pointers_stay_away():
    tree = complete({}, "io.k8s.api.authentication.v1.TokenRequest")
    assert tree["spec"]["boundObjectRef"] is None
    assert "selector" not in complete({"spec": {}}, "io.k8s.api.networking.v1.Ingress")["spec"]


def test_a_definition_made_elsewhere():
    node = schema.Node(type="string", required=True, written=True)
    made = schema.Definition("example.Thing", {"name": node})
    assert of_known(made)({}) == {"name": ""}


RECORDED = [(kind, tree) for _, kind, tree in objects()]


@given(st.sampled_from(RECORDED), st.data())
def test_completing_twice_is_completing_once_and_only_adds(recorded, data):
    kind, tree = recorded
    name = schema.kinds()[kind]
    tree = copied(tree)
    for key in data.draw(st.sets(st.sampled_from(sorted(tree)))):
        del tree[key]
    once = complete(copied(tree), name)
    assert complete(copied(once), name) == once
    assert all(once[key] == complete(copied(tree), name)[key] for key in tree)
    assert tree.keys() <= once.keys()
