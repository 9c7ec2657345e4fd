import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api.errors import ApiError
from clusterip.api.selectors import (
    FieldTerm,
    check_fields,
    from_label_selector,
    parse_fields,
    parse_labels,
)

LABELS = {"app": "web", "tier": "front", "n": "3"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web", True),
        ("app!=web", False),
        ("other!=web", True),
        ("app in (web,db)", True),
        ("app in (db)", False),
        ("app notin (db, x)", True),
        ("other notin (db)", True),
        ("app notin (web)", False),
        ("app", True),
        ("other", False),
        ("!other", True),
        ("! app", False),
        ("n>2", True),
        ("n>3", False),
        ("n<4", True),
        ("app>1", False),
        ("app=web,tier=front,!x", True),
        ("app=web,tier=back", False),
        ("app=", False),
        ("x in ()", False),
        ("app in (,web)", True),
        ("in in (in, notin)", False),
        ("example.com/role!=x", True),
    ],
)
def test_label_selectors(text, selected):
    assert parse_labels(text).matches(LABELS) is selected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("bad  key in", "unable to parse requirement: found 'key', expected: in, notin, =, ==, !=, gt, lt"),
        ("app in", "unable to parse requirement: found '' expected: '('"),
        ("app in web", "unable to parse requirement: found 'web' expected: '('"),
        ("app in (web", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("app,", "found '', expected: identifier after ','"),
        (",app", "found ',', expected: !, identifier, or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("app=web tier", "found 'tier', expected: ',' or 'end of string'"),
        ("!app=web", "found '=', expected: ',' or 'end of string'"),
        ("app==(", "unable to parse requirement: found '(', expected: identifier"),
        ("n>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, "
                "the value must be an integer"),
    ],
)  # fmt: skip
def test_what_cannot_be_parsed_is_told_as_upstream_tells_it(text, error):
    with pytest.raises(ApiError) as raised:
        parse_labels(text)
    assert (raised.value.code, raised.value.message) == (400, error)


def test_a_bad_key_or_value_is_named():
    with pytest.raises(ApiError, match=r'unable to parse requirement: <nil>: Invalid value: "-a": name part must'):
        parse_labels("-a=b")
    with pytest.raises(ApiError, match=r'unable to parse requirement: values\[0\]\[a\]: Invalid value: "b_": a valid'):
        parse_labels("a=b_")


def test_the_text_is_sorted_and_parses_to_the_same():
    selector = parse_labels("b notin (y,x),!c,a=1,d,n>5")
    assert str(selector) == "a=1,b notin (x,y),!c,d,n>5"
    assert parse_labels(str(selector)) == selector


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,4}", fullmatch=True)
REQUIREMENTS = st.one_of(
    st.tuples(NAMES, st.sampled_from(["=", "==", "!="]), NAMES).map("".join),
    st.tuples(NAMES, st.sampled_from(["in", "notin"]), st.lists(NAMES, min_size=1, max_size=3)).map(
        lambda t: f"{t[0]} {t[1]} ({','.join(t[2])})"
    ),
    NAMES,
    NAMES.map("!{}".format),
    st.tuples(NAMES, st.sampled_from("<>"), st.integers(0, 9).map(str)).map("".join),
)


@given(st.lists(REQUIREMENTS, max_size=4), st.dictionaries(NAMES, NAMES))
def test_a_printed_selector_selects_the_same(requirements, labels):
    selector = parse_labels(",".join(requirements))
    assert parse_labels(str(selector)).matches(labels) == selector.matches(labels)
    assert selector.matches(labels) == all(parse_labels(one).matches(labels) for one in requirements)


@given(st.text(max_size=20))
def test_no_text_breaks_the_parsers(text):
    for parse in (parse_labels, parse_fields):
        with contextlib.suppress(ApiError):
            parse(text)


def test_label_selector_objects():
    tree = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "n", "operator": "In", "values": ["3", "4"]}]}
    assert from_label_selector(tree).matches(LABELS)
    assert not from_label_selector(tree).matches({"app": "web"})
    assert from_label_selector({}).matches(LABELS)
    assert not from_label_selector(None).matches(LABELS)
    with pytest.raises(ValueError, match='"Near" is not a valid label selector operator'):
        from_label_selector({"matchExpressions": [{"key": "a", "operator": "Near"}]})
    with pytest.raises(ValueError, match="values set can't be empty"):
        from_label_selector({"matchExpressions": [{"key": "a", "operator": "In"}]})


FIELDS = {"metadata.name": "c3", "metadata.namespace": "n", "a": "x,y=z\\"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("metadata.name=c3", True),
        ("metadata.name==c3", True),
        ("metadata.name!=c3,metadata.namespace=n", False),
        ("metadata.name!=c4,,metadata.namespace=n,", True),
        (r"a=x\,y\=z" + "\\\\", True),
        ("metadata.name=", False),
    ],
)
def test_field_selectors(text, selected):
    assert parse_fields(text).matches(FIELDS.__getitem__) is selected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=b\\c", "invalid field selector: invalid escape sequence: \\c"),
    ],
)
def test_field_selector_errors(text, error):
    with pytest.raises(ApiError) as raised:
        parse_fields(text)
    assert raised.value.message == error


def test_a_field_that_nothing_is_known_of():
    with pytest.raises(ApiError) as raised:
        check_fields(parse_fields("data.k=v"), ("metadata.name", "metadata.namespace"))
    assert raised.value.message == (
        '"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


def test_the_single_object_that_a_watch_may_follow():
    assert parse_fields("metadata.name=a").exact("metadata.name") == "a"
    assert parse_fields("metadata.name!=a").exact("metadata.name") is None


@given(st.text(), st.booleans())
def test_terms_round_trip(value, equal):
    term = FieldTerm("spec.x", value, equal)
    assert parse_fields(str(term)).terms == (term,)
