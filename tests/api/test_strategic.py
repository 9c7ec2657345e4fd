import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api.errors import ApiError
from clusterip.api.meta import copied
from clusterip.api.strategic import strategic_merge

POD = "io.k8s.api.core.v1.Pod"
SERVICE = "io.k8s.api.core.v1.Service"
DEPLOYMENT = "io.k8s.api.apps.v1.Deployment"


def ports(*numbers):
    return [{"name": f"p{n}", "port": n} for n in numbers]


def patched_ports(before, *patch, order=None):
    change = {"ports": list(patch)} if patch else {}
    if order is not None:
        change["$setElementOrder/ports"] = [{"port": n} for n in order]
    tree = {"spec": {"ports": before}}
    return strategic_merge(tree, {"spec": change}, SERVICE)["spec"]["ports"]


def test_list_items_are_merged_by_their_key():
    assert patched_ports(ports(80, 81), {"port": 81, "targetPort": 9}) == [
        {"name": "p80", "port": 80},
        {"name": "p81", "port": 81, "targetPort": 9},
    ]


def test_new_items_come_first_and_the_rest_stays_in_order():
    assert [p["port"] for p in patched_ports(ports(80, 81), {"port": 7})] == [7, 80, 81]


def test_items_are_deleted_and_lists_replaced():
    assert patched_ports(ports(80, 81), {"port": 80, "$patch": "delete"}) == ports(81)
    assert patched_ports(ports(80, 81), {"$patch": "replace"}, {"port": 99}) == [{"port": 99}]
    assert patched_ports(ports(80), {"$patch": "replace"}) == []


def test_the_order_that_is_asked_for():
    assert [p["port"] for p in patched_ports(ports(80, 81, 82), {"port": 82, "name": "x"}, order=[82, 81, 80])] == [
        82,
        81,
        80,
    ]
    assert [p["port"] for p in patched_ports(ports(80, 81, 82), order=[82, 80])] == [81, 82, 80]


def test_kubectl_apply_adds_an_item_in_place():
    got = patched_ports(ports(80, 82), {"port": 81}, order=[80, 81, 82])
    assert [p["port"] for p in got] == [80, 81, 82]


def test_maps_merge_and_null_removes():
    tree = {"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"selector": {"x": "y"}}}
    change = {"metadata": {"labels": {"a": None, "c": "3"}}, "spec": {"selector": {"$patch": "replace", "z": "1"}}}
    assert strategic_merge(tree, change, SERVICE) == {
        "metadata": {"labels": {"b": "2", "c": "3"}},
        "spec": {"selector": {"z": "1"}},
    }


def test_a_map_that_is_deleted_is_empty():
    assert strategic_merge(
        {"spec": {"selector": {"a": "b"}}}, {"spec": {"selector": {"$patch": "delete"}}}, SERVICE
    ) == {"spec": {"selector": {}}}


def test_scalar_lists():
    tree = {"metadata": {"finalizers": ["a", "b"]}, "spec": {"externalIPs": ["1.1.1.1"]}}
    change = {
        "metadata": {"finalizers": ["c", "a"], "$deleteFromPrimitiveList/finalizers": ["b"]},
        "spec": {"externalIPs": ["2.2.2.2"]},
    }
    got = strategic_merge(tree, change, SERVICE)
    assert sorted(got["metadata"]["finalizers"]) == ["a", "c"]
    assert got["spec"]["externalIPs"] == ["2.2.2.2"]


def test_containers_and_their_lists_merge_deep():
    container = {"name": "c", "image": "a", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80}]}
    tree = {"spec": {"containers": [container, {"name": "side", "image": "s"}]}}
    change = {"spec": {"containers": [{"name": "c", "image": "b", "env": [{"name": "Y", "value": "2"}]}]}}
    got = strategic_merge(tree, change, POD)["spec"]["containers"]
    assert got[0]["image"] == "b"
    assert {e["name"] for e in got[0]["env"]} == {"X", "Y"}
    assert got[1] == {"name": "side", "image": "s"}


def test_retain_keys_drops_the_former_strategy():
    tree = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    change = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge(tree, change, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_volumes_retain_keys():
    tree = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    change = {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "x"}}]}}
    assert strategic_merge(tree, change, POD)["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "x"}}]


def test_what_is_not_there_yet_is_put_without_nulls_and_directives():
    change = {
        "spec": {"template": {"spec": {"x": None, "containers": [{"name": "a"}, {"name": "b", "$patch": "delete"}]}}}
    }
    assert strategic_merge({}, change, DEPLOYMENT) == {"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}}


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ([], 400, "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ({"spec": {"ports": [{"name": "x"}]}}, 500, "map: map[name:x] does not contain declared merge key: port"),
        ({"spec": {"ports": [{"$patch": "no"}]}}, 500, "unknown patch type: no in map: map[$patch:no]"),
        ({"spec": {"$patch": "merge"}}, 500, "unknown patch type: merge in map: map[$patch:merge]"),
        ({"spec": {"$retainKeys": "x"}}, 400, "invalid patch format of retainKeys"),
        ({"spec": {"$retainKeys": ["type"], "clusterIP": "x"}}, 400, "invalid patch format of retainKeys"),
        ({"spec": {"$deleteFromPrimitiveList": ["x"]}}, 400, "invalid patch format of primitive list"),
        ({"spec": {"$setElementOrder": ["x"]}}, 400, "invalid patch format of setElementOrder list"),
        ({"spec": {"$setElementOrder/prots": []}}, 500,
         'unable to find api field in struct ServiceSpec for the json field "prots"'),
        ({"spec": {"ports": [[]]}}, 422, "the server rejected our request due to an error in our request"),
    ],
)  # fmt: skip
def test_what_a_patch_may_not_say(change, code, text):
    with pytest.raises(ApiError) as raised:
        strategic_merge({"spec": {"ports": ports(80)}}, change, SERVICE)
    assert (raised.value.code, raised.value.message) == (code, text)


def test_items_out_of_the_order_asked_for_are_refused():
    with pytest.raises(ApiError, match=r"doesn't match \$setElementOrder list"):
        patched_ports(ports(80), {"port": 2}, {"port": 1}, order=[1, 2, 80])


NUMBERS = st.lists(st.integers(1, 6), unique=True, max_size=5)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_three_way_apply_ends_with_the_wanted_items_in_the_wanted_order(last, live, wanted):
    """As `kubectl apply` makes its patch: delete what was last applied, put what is wanted, in its order."""
    tree = {"spec": {"ports": ports(*live)}}
    gone = [{"port": n, "$patch": "delete"} for n in last if n not in wanted]
    change = {"ports": [{"port": n, "name": "new"} for n in wanted] + gone}
    change["$setElementOrder/ports"] = [{"port": n} for n in wanted]
    before = copied(tree)
    got = strategic_merge(tree, {"spec": change}, SERVICE)["spec"]["ports"]
    assert [p["port"] for p in got if p["port"] in wanted] == wanted
    assert {p["port"] for p in got} == set(wanted) | (set(live) - set(last))
    assert tree == before
