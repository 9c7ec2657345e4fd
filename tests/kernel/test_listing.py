"""Listings of another network namespace."""

import asyncio
import os

import pytest

from clusterip.kernel.listing import ListingError, listing

pytestmark = pytest.mark.root


def test_what_a_program_prints() -> None:
    assert asyncio.run(listing(os.getpid(), "echo", "rules")) == "rules\n"


def test_a_program_that_refuses_or_is_missing() -> None:
    with pytest.raises(ListingError, match="no-such-program"):
        asyncio.run(listing(os.getpid(), "no-such-program"))
    with pytest.raises(ListingError, match="exit code 1"):
        asyncio.run(listing(os.getpid(), "false"))
