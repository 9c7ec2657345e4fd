"""A report as text and as a tree."""

from clusterip.explain.finding import Finding, Report, Severity, listed
from clusterip.explain.report import render, tree_of

ONE = Finding(Severity.BROKEN, "kind", "Service a/b", "it is broken", ("a fact",), ("kubectl do it",))
TWO = Finding(Severity.SUSPECT, "other", "Service a/c", "it is odd")


def test_text() -> None:
    assert render(Report((ONE, TWO), (("nodes", "forbidden"),), 3)) == (
        "BROKEN  Service a/b: it is broken\n"
        "        seen  a fact\n"
        "        fix   kubectl do it\n"
        "\n"
        "SUSPECT Service a/c: it is odd\n"
        "\n"
        "not looked at: nodes: forbidden\n"
        "3 Services looked at: 1 broken, 1 suspect"
    )


def test_a_screen_holds_what_matters_most() -> None:
    text = render(Report((ONE, TWO), (), 3), most=1)
    assert "it is odd" not in text
    assert "and 1 more" in text


def test_nothing() -> None:
    assert render(Report((), (), 1)) == "1 Service looked at: nothing is wrong"
    assert Report((Finding(Severity.NOTE, "k", "a", "w"),)).is_healthy


def test_tree() -> None:
    tree = tree_of(Report((ONE,), (("nodes", "forbidden"),), 3))
    assert tree["healthy"] is False
    assert tree["findings"][0]["kind"] == "kind"
    assert tree["notLookedAt"] == [{"what": "nodes", "why": "forbidden"}]


def test_names() -> None:
    assert listed("abcde") == "a, b, c and 2 more"
    assert listed([]) == ""
