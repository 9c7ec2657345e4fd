"""Formats, by what a kube-apiserver 1.36 took and refused."""

from __future__ import annotations

import pytest

from clusterip.api.formats import fits, is_known, number_fits

UUID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2020-01-01T00:00:00.123+02:00", "2020-01-01"),
        ("datetime", "2020-01-01T00:00:00Z", "2020-13-01T00:00:00Z"),
        ("date", "2020-01-01", "2020-1-1"),
        ("email", "Foo <a@b>", "a@"),
        ("hostname", "A-1", "a.b"),
        ("hostname", "a.bc", "a_b"),
        ("ipv4", "01.2.3.4", "1.2.3.256"),
        ("ipv6", "::ffff:1.2.3.4", "1.2.3.4"),
        ("cidr", "10.1.2.3/8", "10.0.0.0/33"),
        ("cidr", "fd00::/8", "10.0.0.0"),
        ("mac", "01:02:03:04:05:06", "01:02"),
        ("mac", "0102.0304.0506", "01:02-03:04:05:06"),
        ("uuid", UUID.replace("-", ""), "123"),
        ("uuid3", "a3bb189e-8bf9-3888-9912-ace4e6543002", UUID),
        ("uuid4", "f47ac10b-58cc-4372-a567-0e02b2c3d479", UUID),
        ("uuid5", "74738ff5-5367-5958-9aee-98fffdcd1876", UUID),
        ("uri", "/x", "x"),
        ("isbn", "978-3-16-148410-0", "1"),
        ("isbn10", "0-306-40615-2", "0-306-40615-3"),
        ("isbn13", "9783161484100", "9783161484101"),
        ("creditcard", "4111 1111 1111 1111", "4111111111111112"),
        ("ssn", "123-45-6789", "1"),
        ("hexcolor", "fff", "fff0"),
        ("rgbcolor", "rgb(1, 2,3)", "rgb(1,2,300)"),
        ("byte", "YQ==", "a"),
        ("duration", "1h30", "1x"),
        ("duration", "1.5 days", "h"),
        ("bsonobjectid", "507f1f77bcf86cd799439011", "x"),
        ("k8s-short-name", "a-b", "a.b"),
        ("k8s-long-name", "a.b", "A"),
    ],
)
def test_texts(name: str, good: str, bad: str) -> None:
    assert fits(good, name)
    assert not fits(bad, name)


def test_numbers() -> None:
    assert number_fits(2**31 - 1, "integer", "int32")
    assert not number_fits(2**31, "integer", "int32")
    assert not number_fits(2**63, "integer", "")
    assert not number_fits(1.5, "integer", "")
    assert not number_fits(1e300, "number", "float")
    assert number_fits(1e300, "number", "double")


def test_what_means_nothing() -> None:
    assert fits("anything", "foo")
    assert [is_known(*each) for each in (("foo", "string"), ("int32", "string"), ("int32", "integer"))] == [
        False,
        False,
        True,
    ]
