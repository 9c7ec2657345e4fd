import pytest

from clusterip.api.endpointslice import is_ready, service_of


@pytest.mark.parametrize(
    ("labels", "name"), [({"kubernetes.io/service-name": "web"}, "web"), ({}, ""), (None, "")], ids=str
)
def test_whose_a_slice_is(labels, name):
    assert service_of({"metadata": {"namespace": "shop", "name": "web-x7", "labels": labels}}) == ("shop", name)


@pytest.mark.parametrize(
    ("endpoint", "ready"),
    [
        ({}, True),
        ({"conditions": None}, True),
        ({"conditions": {"serving": False}}, True),
        ({"conditions": {"ready": True}}, True),
        ({"conditions": {"ready": False, "serving": True}}, False),
    ],
    ids=str,
)
def test_an_absent_condition_means_ready(endpoint, ready):
    assert is_ready(endpoint) is ready
