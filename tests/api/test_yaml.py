import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api import yaml
from clusterip.api.yaml import YamlError


def trees(text):
    return [tree for tree, _ in yaml.documents(text) if tree is not None]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True), ("Yes", True), ("on", True), ("TRUE", True), ("n", False), ("off", False), ("false", False),
        ("~", None), ("null", None), ("", None), ("nUll", "nUll"), ("yEs", "yEs"),
        ("1", 1), ("-1", -1), ("+1", 1), ("010", 8), ("0o10", 8), ("0x1F", 31), ("0b11", 3), ("1_000", 1000),
        ("1.5", 1.5), ("1.0", 1), ("1e3", 1000), (".5", 0.5), ("1.", 1), ("1.2.3", "1.2.3"), ("10.96.0.1", "10.96.0.1"),
        ("089", 89), ("18446744073709551615", 2**64 - 1), ("2024-01-01", "2024-01-01"), ("1:20", "1:20"), ("-", "-"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"), ("'1'", "1"), ('"yes"', "yes"), ("!!str 5", "5"),
        ('!!int "7"', 7), ("!!binary aGk=", "hi"), ("12e", "12e"), ("=", "="), ("0x", "0x"), ("1Gi", "1Gi"),
    ],
)  # fmt: skip
def test_scalars(text, value):
    got = trees(f"a: {text}\n") if text != "-" else trees('a: "-"\n')
    assert got == [{"a": value}]
    assert type(got[0]["a"]) is type(value)


def test_several_documents_empty_ones_left_out():
    assert trees("---\na: 1\n---\n---\n# nothing\n---\nb: [x, {c: d}]\n") == [
        {"a": 1},
        {"b": ["x", {"c": "d"}]},
    ]
    assert yaml.load("") == (None, [])


def test_anchors_merges_and_keys_that_are_no_texts():
    tree = trees("base: &b {p: 1, q: 2}\none: {<<: *b, q: 3}\ntwo: *b\n8080: x\ntrue: z\n")
    assert tree == [
        {"base": {"p": 1, "q": 2}, "one": {"p": 1, "q": 3}, "two": {"p": 1, "q": 2}, "8080": "x", "true": "z"}
    ]


# The same words as kube-apiserver's and kubectl's.
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [", "yaml: line 1: did not find expected node content"),
        ("a: 1\nb: c: d\n", "yaml: line 2: mapping values are not allowed in this context"),
        ("a: b\n\tc: d", "yaml: line 2: found a tab character that violates indentation"),
        ("\tx: 1", "yaml: found character that cannot start any token"),
        ("a: \x01b", "yaml: control characters are not allowed"),
        ("a: .inf", "json: unsupported value: inf"),
        ("? [1]\n: 2", "yaml: line 1: unsupported map key of type: slice"),
        ("a: *nope", "yaml: unknown anchor 'nope' referenced"),
        ("a: &a [*a]", "yaml: anchor 'a' value contains itself"),
        ("<<: 1", "yaml: map merge requires map or sequence of maps as the value"),
        ("a: !!int x", "yaml: line 1: cannot decode !!str `x` as a !!int"),
    ],
)
def test_errors_name_the_line(text, error):
    with pytest.raises(YamlError) as raised:
        trees(text)
    assert str(raised.value) == error


def test_equal_keys():
    text = "spec:\n  ports:\n  - port: 80\n    port: 81\n"
    assert yaml.load(text) == ({"spec": {"ports": [{"port": 81}]}}, ['line 4: key "port" already set in map'])
    assert yaml.strict_text(yaml.load(text)[1]) == 'yaml: unmarshal errors:\n  line 4: key "port" already set in map'


def test_a_billion_laughs():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(YamlError, match="excessive aliasing"):
        trees("\n".join(lines))


def test_a_well_without_a_bottom():
    with pytest.raises(YamlError, match="exceeded max depth"):
        trees("[" * 100_000 + "]" * 100_000)


def test_what_is_written():
    tree = {
        "metadata": {"name": "x", "creationTimestamp": "2024-01-01T00:00:00Z", "labels": {}, "finalizers": []},
        "data": {"a10": "1", "a2": "true", "text": "one\ntwo\n", "quote": "it's: x", "empty": "", "y": "- z"},
        "items": [{"port": 80, "none": None}, [1.5, True]],
        "apiVersion": "v1",
    }
    assert yaml.dump(tree) == (
        "apiVersion: v1\n"
        'data:\n  a2: "true"\n  a10: "1"\n  empty: ""\n'
        "  quote: 'it''s: x'\n  text: |\n    one\n    two\n  \"y\": '- z'\n"
        "items:\n- none: null\n  port: 80\n- - 1.5\n  - true\n"
        'metadata:\n  creationTimestamp: "2024-01-01T00:00:00Z"\n  finalizers: []\n  labels: {}\n  name: x\n'
    )


TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufeff\ufffe\uffff"), max_size=8)
LINES = st.lists(TEXTS, max_size=3).map("\n".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e6, 1e6).filter(lambda f: f % 1) | LINES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(TEXTS, JSON, max_size=4))
def test_what_is_written_is_read_again(tree):
    assert trees(yaml.dump(tree)) == ([tree] if tree or tree == {} else [])


@given(st.text(max_size=30))
def test_no_text_breaks_the_reader(text):
    try:
        trees(text)
    except YamlError as error:
        assert str(error).startswith(("yaml: ", "json: "))  # noqa: PT017


@given(st.sampled_from(["y", "n", "1", "0x1", "1e3", "null", "2024-01-01", ".5", "~", "1_0", "on"]) | TEXTS)
def test_a_text_stays_a_text(text):
    assert trees(yaml.dump({"a": text})) == [{"a": text}]
