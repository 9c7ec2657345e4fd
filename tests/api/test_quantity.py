import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api import quantity
from clusterip.api.quantity import QuantityError, canonical, parse, render

CANONICAL = """
0 0  0.0 0  -0 0  1000m 1  1500m 1500m  0.5 500m  0.1 100m  1.25 1250m  100 100  1000 1k  1500 1500  2000000 2M
1024Ki 1Mi  64Mi 64Mi  1.5Gi 1536Mi  1023 1023  0.5Ki 512  0.1Ki 102400m  1e3 1e3  1E3 1e3  1000e0 1e3  12e-3 12e-3
1e2 100  +5 5  -500m -500m  100n 100n  1.1n 2n  1u 1u  1E 1E  1Ei 1Ei  100E 9223372036854775807
-100E -9223372036854775807  00012 12  1. 1  .5 500m
"""
WORDS = CANONICAL.split()


@pytest.mark.parametrize(("text", "want"), list(zip(WORDS[::2], WORDS[1::2], strict=True)))
def test_canonical_text(text, want):
    assert canonical(text) == want


@pytest.mark.parametrize("text", ["", "1 Gi", "lots", "1.2.3", "0x1", "1GiB", "٣", "--1", "1e3e"])
def test_what_is_no_quantity(text):
    with pytest.raises(QuantityError) as error:
        parse(text)
    assert str(error.value) in (quantity.FORMAT_WRONG, quantity.SUFFIX_WRONG)


def test_a_wrong_suffix_is_told_apart():
    with pytest.raises(QuantityError, match="unable to parse quantity's suffix"):
        parse("1mm")


def test_whole_and_thousandths_are_rounded_up():
    assert quantity.value("1500m") == 2
    assert quantity.value("1Gi") == 2**30
    assert quantity.milli("0.0001") == 1
    assert quantity.milli(2) == 2000
    assert quantity.amount(0.1) == Decimal("0.1")


@given(
    st.integers(-(2**53), 2**53), st.sampled_from([*quantity.DECIMAL_SUFFIXES, *quantity.BINARY_SUFFIXES, "e3", "e-2"])
)
def test_the_canonical_text_means_the_same_and_is_a_fixed_point(number, suffix):
    first = parse(f"{number}{suffix}")
    again = parse(str(first))
    assert again.amount == first.amount
    assert canonical(str(first)) == str(first)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_rendering_is_the_inverse_of_parsing(number):
    assert parse(render(number)).amount == number


@given(st.text(max_size=12))
def test_no_text_breaks_the_parser(text):
    with contextlib.suppress(QuantityError):
        parse(text)
