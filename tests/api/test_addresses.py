import pytest

from clusterip.api.addresses import balancers_of, is_address, with_port


@pytest.mark.parametrize("text", ["10.0.0.1", "::1", "2001:db8::1"])
def test_addresses(text):
    assert is_address(text)


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0", "[::1]", "10.0.0.1:80", "fe80::1%eth0"])
def test_no_addresses(text):
    assert not is_address(text)


def test_brackets_keep_the_port_apart():
    assert with_port("10.0.0.1", 80) == "10.0.0.1:80"
    assert with_port("web.example", 80) == "web.example:80"
    assert with_port("2001:db8::1", 80) == "[2001:db8::1]:80"


@pytest.mark.parametrize("tree", [{}, {"status": None}, {"status": {"loadBalancer": {}}}], ids=str)
def test_a_status_without_load_balancers(tree):
    assert balancers_of(tree) == []


def test_a_status_with_one():
    assert balancers_of({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}) == [{"ip": "192.0.2.1"}]
