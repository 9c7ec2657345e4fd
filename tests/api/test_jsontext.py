import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api import jsontext
from clusterip.api.jsontext import JsonError


# The texts of Go's encoding/json.
@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"{not json", "invalid character 'n' looking for beginning of object key string"),
        (b"", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b'{"a"', "unexpected end of JSON input"),
        (b'{"a":', "unexpected end of JSON input"),
        (b'{"a":1', "unexpected end of JSON input"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"tru!", "invalid character '!' in literal true (expecting 'e')"),
        (b"nul", "unexpected end of JSON input"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"1ex", "invalid character 'x' in exponent of numeric literal"),
        (b"01", "invalid character '1' after top-level value"),
        (b'"a\nb"', "invalid character '\\n' in string literal"),
        (b'"\\x"', "invalid character 'x' in string escape code"),
        (b'"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        (b"\x81\xab", "invalid character '\\u0081' looking for beginning of value"),
        (b"'a'", "invalid character '\\'' looking for beginning of value"),
    ],
)
def test_faults_are_told_as_go_tells_them(raw, fault):
    with pytest.raises(JsonError) as raised:
        jsontext.parse(raw)
    assert str(raised.value) == fault


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, 1]))
def test_json_has_no_fault(value, indent):
    raw = json.dumps(value, indent=indent).encode()
    assert jsontext.syntax_fault(raw) == ""
    assert jsontext.parse(raw) == value
    assert jsontext.duplicates(raw, value) == []


@given(st.text(alphabet='{}[],:"\\ tfn01-.eu', max_size=12).map(str.encode))
def test_a_fault_is_found_exactly_when_there_is_one(raw):
    try:
        json.loads(raw)
    except ValueError:
        assert jsontext.syntax_fault(raw)
    else:
        assert not jsontext.syntax_fault(raw)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"a":1,"a":2}', ['duplicate field "a"']),
        (b'{"spec":{"ports":[{"port":1},{"port":2,"port":3}]}}', ['duplicate field "spec.ports[1].port"']),
        (b'{ "a": {"b": 1, "b": 1, "b": 1} }\n', ['duplicate field "a.b"']),
        (b'{"a": "\\u003c", "b": 1.0}', []),
        (b"[]", []),
    ],
)
def test_equal_keys(raw, found):
    assert jsontext.duplicates(raw, jsontext.parse(raw)) == found


def test_deep_nesting_is_no_fault_of_ours():
    with pytest.raises(JsonError):
        jsontext.parse(b"[" * 100_000 + b"]" * 100_000)


def test_bodies_as_errors_show_them():
    assert jsontext.summary(b"{not json") == "{not json"
    assert jsontext.summary(b"a: [") == "613a205b"
    assert jsontext.summary(b"") == "<empty>"
    assert jsontext.summary(b"{" + b"x" * 40) == "{" + "x" * 29 + " ..."


def test_what_go_takes_and_others_do_not():
    assert jsontext.parse(b'{"a":"\xff"}') == {"a": "\ufffd"}


def test_halves_of_characters_and_long_numbers_are_read_as_go_reads_them() -> None:
    assert jsontext.parse(b'{"a":["x\\ud800y","\\ud83d\\ude00"],"b":123456789012345678901}') == {
        "a": ["x\ufffdy", "\U0001f600"],
        "b": 1.2345678901234568e20,
    }


def test_faults_are_told_in_the_order_of_the_text():
    faults = ['duplicate field "spec.b"', 'unknown field "spec.a"', 'unknown field "spec.c[1].d"']
    raw = b'{"spec": {"a": 1, "b": 1, "b": 2, "c": [1, {"d": 1}]}}'
    assert jsontext.in_order(raw, faults) == [faults[1], faults[0], faults[2]]
    assert jsontext.in_order(b"a: 1", faults) == faults


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"a":' * 300_000 + b"1" + b"}" * 300_000, "exceeded max depth"),
        (b"[" * 1_000_000, "exceeded max depth"),
        (b'{"a":[' + b"1," * 700_000, "unexpected end of JSON input"),
        (b'{"a":"' + b"x" * 1_000_000, "unexpected end of JSON input"),
        (b"[" + b"1," * 100_000 + b"x]", "invalid character 'x' looking for beginning of value"),
        (b'{"a":"' + b"x" * 100_000 + b'" 1}', "invalid character '1' after object key:value pair"),
        (b'{"a":"' + b"x" * 100_000 + b'",1}', "invalid character '1' looking for beginning of object key string"),
        (b'{"a":"' + b"x" * 100_000 + b'"}}', "invalid character '}' after top-level value"),
        (b'["' + b"x" * 100_000 + b'",NaN]', "looking for beginning of value"),
    ],
)
def test_a_fault_in_a_long_text_is_found_at_once(raw: bytes, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "syntax_fault", None)  # which looks at every byte
    with pytest.raises(jsontext.JsonError, match=re.escape(fault)):
        jsontext.parse(raw)


def test_a_long_text_that_go_takes_is_taken() -> None:
    assert jsontext.parse(b'["\xff' + b"x" * 100_000 + b'"]') == ["\ufffd" + "x" * 100_000]
