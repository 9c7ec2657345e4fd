"""Formats and semantic versions in expressions."""

from __future__ import annotations

import pytest

from clusterip.api import cel
from clusterip.api.cel import CelError
from clusterip.api.cel_formats import written


@pytest.mark.parametrize(
    "text",
    [
        "!format.dns1123Label().validate('a').hasValue()",
        "format.dns1123Label().validate('A_').hasValue()",
        "format.dns1123LabelPrefix().validate('a-') == optional.none()",
        "format.dns1035Label().validate('1a').hasValue() && !format.dns1035LabelPrefix().validate('a-').hasValue()",
        "format.named('uuid').value().validate('x').value()[0] == 'does not match the UUID format'",
        "!format.named('nosuch').hasValue()",
        "format.byte().validate('?').hasValue() && !format.date().validate('2026-01-01').hasValue()",
        "format.datetime().validate('now').hasValue() && format.labelValue().validate('a b').hasValue()",
        "!format.uri().validate('http://a/b').hasValue() && format.uri().validate('').value()[0].contains('empty url')",
        "format.qualifiedName().validate('a/b/c').hasValue()",
        "semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3",
        "semver('v1.2', true) == semver('1.2.0') && semver('01.01.01', true) == semver('1.1.1+build')",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0').isGreaterThan(semver('1.0.0-rc.1'))",
        "semver('1.0.0-alpha.1').compareTo(semver('1.0.0-alpha.beta')) == -1",
        "semver('1.0.0-a').compareTo(semver('1.0.0-a.1')) == -1",
        "isSemver('1.0.0-a.1') && !isSemver('v1.0') && isSemver('v1.0', true) && !isSemver('1.0.0-01')",
        "!isSemver('1.0-a', true)",
    ],
)
def test_functions(text: str) -> None:
    assert cel.compiled(text, (), "BOOL").ask({}) is True


@pytest.mark.parametrize("text", ["semver('x') == semver('1.0.0')", "semver('') == semver('1.0.0')"])
def test_failures(text: str) -> None:
    with pytest.raises(CelError):
        cel.compiled(text, (), "BOOL").ask({})


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("self.a.validate('x')", "self.a.validate('x')"),
        ("'format.named('.size() == 1", "'format.named('.size() == 1"),
        (
            "x || format.uri().validate(self[0].f(')')) == null",
            "x || optional.ofNonZeroValue(format.uri().formatFaults(self[0].f(')'))) == null",
        ),
    ],
)
def test_what_is_put_around_functions(text: str, meant: str) -> None:
    assert written(text) == meant
