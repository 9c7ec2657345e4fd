"""The lesson format: what is read, and what counts as seen."""

import pytest

from clusterip.cli.transcript import Command, Expectation, Heading, Let, TranscriptError, parse, pattern

TEXT = """\
< rm leftovers
# A heading
let 10.96.1.2 = kubectl get x
@ 5s
$ kubectl get pods
| NAME READY
! 3
$ kubectl run -it
> curl x
& 2 different Hello ...
^ curl: ...
-- a.yaml --
kind: A
-- b.yaml --

kind: B
"""


def test_steps_and_files() -> None:
    transcript = parse(TEXT)
    heading, let, pods, run = transcript.steps
    assert heading == Heading("A heading")
    assert let == Let("10.96.1.2", "kubectl get x")
    assert isinstance(pods, Command)
    assert isinstance(run, Command)
    assert (pods.within_seconds, pods.exit_code, pods.expect.lines) == (5.0, 3, ["NAME READY"])
    assert (run.within_seconds, run.exit_code) == (0.0, 0)
    assert run.typed[0].expect == Expectation(different=[(2, "Hello ...")], absent=["curl: ..."])
    assert transcript.before == ["rm leftovers"]
    assert transcript.files == {"a.yaml": "kind: A\n", "b.yaml": "kind: B\n"}


@pytest.mark.parametrize("text", ["| nothing above\n", "$ x\n* what\n"])
def test_a_line_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(TranscriptError, match="line"):
        parse(text)


@pytest.mark.parametrize(
    ("expected", "line", "matches"),
    [
        ("web ClusterIP 10.... <none>", "web   ClusterIP   10.96.1.2   <none>  ", True),
        ("web 1/1 Running 0 ...", "web   1/1  Running  0   5s", True),
        ("web 1/1 Running 0 ...", "web   0/1  Running  0   5s", False),
        ("web-... 1/1", "web-abc   1/1", True),
        ("ends here", "ends here not", False),
        ("...can't find x: NXDOMAIN", "** server can't find x: NXDOMAIN", True),
    ],
)
def test_expected_lines(expected: str, line: str, matches: bool) -> None:
    assert bool(pattern(expected).fullmatch(line)) is matches


def test_lines_must_come_in_order() -> None:
    assert not Expectation(lines=["a", "b"]).missing("a\nx\nb")
    assert Expectation(lines=["a", "b"]).missing("b\na") == ["no line like: b"]


def test_different_lines_are_counted_once() -> None:
    expect = Expectation(different=[(2, "Hello ...")])
    assert expect.missing("Hello a\nHello a") == ["1 instead of 2 different lines like: Hello ..."]
    assert not expect.missing("Hello a\nHello b")


def test_what_must_not_come() -> None:
    assert Expectation(absent=["error ..."]).missing("error x") == ["a line like: error ..."]
