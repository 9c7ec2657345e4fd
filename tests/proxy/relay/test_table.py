"""What is told to the relay survives the wire."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clusterip.proxy.relay.table import (
    Answer,
    Listener,
    Place,
    Request,
    parse_answer,
    parse_request,
    render_answer,
    render_request,
)

places = st.builds(Place, st.ip_addresses().map(str), st.integers(1, 65535))
listeners = st.builds(
    Listener, st.text(), st.sampled_from(["tcp", "udp"]), st.text(), st.lists(places).map(tuple), st.integers(0, 86400)
)
requests = st.builds(
    Request,
    st.dictionaries(st.text(), listeners),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.integers(1, 65535)),
)
answers = st.builds(
    Answer, st.dictionaries(st.text(), st.integers(1, 65535)), st.dictionaries(st.text(), st.text()), st.integers()
)


@given(requests)
def test_requests(request: Request) -> None:
    line = render_request(request)
    assert parse_request(line) == request
    assert line.count(b"\n") == 1


@given(answers)
def test_answers(answer: Answer) -> None:
    line = render_answer(answer)
    assert parse_answer(line) == answer
    assert line.count(b"\n") == 1


def test_a_place_is_written_as_iptables_writes_it() -> None:
    assert [str(Place("10.0.0.1", 80)), str(Place("fd00::1", 80))] == ["10.0.0.1:80", "[fd00::1]:80"]
