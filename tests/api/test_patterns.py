"""Go's regular expressions, as Python reads them."""

from __future__ import annotations

import pytest

from clusterip.api.patterns import PatternError, compiled


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"^a$", "a", "a\n"),
        (r"^a\z", "a", "a\n"),
        (r"(?m)^a$", "x\na\ny", "xa"),
        (r"^[[:alpha:]]+$", "abc", "a1"),
        (r"^[[:^alpha:]]+$", "1é", "a"),
        (r"^\pL+$", "abcé", "a1"),
        (r"^[\p{Lu}\d]+$", "É1", "é"),
        (r"^\PL$", "1", "a"),
        (r"^\Qa.b\E$", "a.b", "axb"),
        (r"^\d+$", "12", "١٢"),
        (r"^\w+$", "e", "é"),
        (r"(?U)^a+$", "aa", "b"),
        (r"^(?P<x>a)$", "a", "b"),
        (r"^(?<x>a)$", "a", "b"),
        (r"^(?i)ab$", "AB", "ac"),
        (r"(?i)a|b", "B", "c"),
        (r"(a(?i)b|c)d", "Cd", "CD"),
        (r"^[a[b]$", "[", "c"),
        (r"^[^]a]$", "b", "]"),
        (r"^a{,2}$", "a{,2}", "aa"),
        (r"^a{2}$", "aa", "a"),
        (r"^\x{e9}$", "é", "e"),
        (r"^a*?$", "aa", "b"),
        (r"^(#| )$", "#", "x"),
        (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b", "-a"),
        (r"\p{Greek}", "anything: scripts are not known", ""),
    ],
)
def test_what_matches(pattern: str, yes: str, no: str) -> None:
    assert compiled(pattern).search(yes)
    assert "Greek" in pattern or not compiled(pattern).search(no)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
    ],
)
def test_what_go_does_not_take(pattern: str, why: str) -> None:
    with pytest.raises(PatternError) as refusal:
        compiled(pattern)
    assert str(refusal.value) == f"error parsing regexp: {why}"
