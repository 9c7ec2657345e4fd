"""What Kubernetes adds to CEL."""

from __future__ import annotations

import pytest

from clusterip.api import cel
from clusterip.api.cel import CelError


@pytest.mark.parametrize(
    "text",
    [
        "isURL('https://a.example:80/p?q=1') && !isURL('a b')",
        "url('https://a.example:80/p?q=1').getHostname() == 'a.example'",
        "url('https://a.example:80/p?q=1').getHost() == 'a.example:80' && url('https://a:80/p').getPort() == '80'",
        "url('https://a/p?q=1').getScheme() == 'https' && url('https://a/p?q=1').getEscapedPath() == '/p'",
        "url('https://a/p?q=1&q=2').getQuery() == {'q': ['1', '2']}",
        "isIP('10.0.0.1') && isIP('::1') && !isIP('10.0.0.256') && !isIP('010.0.0.1')",
        "ip('10.0.0.1').family() == 4 && ip('2001:db8::').family() == 6 && ip('127.0.0.1').isLoopback()",
        "ip('2001:DB8::1') == ip('2001:db8:0::1') && !ip.isCanonical('2001:DB8::1')",
        "ip('224.0.0.1').isLinkLocalMulticast() && ip('169.254.1.1').isLinkLocalUnicast()",
        "ip('10.1.1.1').isGlobalUnicast() && !ip('0.0.0.0').isGlobalUnicast()",
        "isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0') && cidr('10.0.0.0/8').containsIP('10.1.1.1')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.0.0.0/8').containsCIDR('0.0.0.0/0')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.1.2.3/8').ip() == ip('10.1.2.3')",
        "cidr('fd00::/64').prefixLength() == 64",
        "isQuantity('1.5Gi') && !isQuantity('x') && quantity('1Gi').isGreaterThan(quantity('1G'))",
        "quantity('500m').add(quantity('1500m')).asInteger() == 2 && quantity('1k') == quantity('1000')",
        "quantity('1500m').asApproximateFloat() == 1.5 && quantity('-1').sign() == -1 && !quantity('1m').isInteger()",
        "quantity('1').compareTo(quantity('2')) == -1 && quantity('3').sub(quantity('1')) == quantity('2')",
        "'abc123'.find('[0-9]+') == '123' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "[1, 2, 3].isSorted() && ![2, 1].isSorted() && [1, 2].sum() == 3 && [1, 2].max() == 2 && [1, 2].min() == 1",
        "'a1b2'.findAll('[0-9]', 1) == ['1'] && 'a1'.find('[[:digit:]]') == '1'",
        "[1, [2, [3]]].flatten() == [1, 2, [3]] && [[[1]]].flatten(2) == [1] && [1, 1, 2].distinct() == [1, 2]",
        "[1, 2, 3].slice(1, 2) == [2] && [2, 1].sort() == [1, 2] && lists.range(3) == [0, 1, 2]",
        "sets.contains([1, 2], [1]) && sets.equivalent([1, 2], [2, 1]) && !sets.intersects([1], [2])",
    ],
)
def test_functions(text: str) -> None:
    assert cel.compiled(text, (), "BOOL").ask({}) is True


@pytest.mark.parametrize(
    "text",
    ["ip('x') == ''", "quantity('x') == ''", "cidr('10.0.0.0') == ''", "[].max() == 1", "[1].slice(0, 2) == [1]"],
)
def test_failures(text: str) -> None:
    with pytest.raises(CelError):
        cel.compiled(text, (), "BOOL").ask({})
