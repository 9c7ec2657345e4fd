"""Command lines whose rest belongs to another program.

Stage: edge.  In: words.  Out: our options, and the other program's words untouched.
Rules: pure.  Our options come first; from the first word that is none of them, everything is passed on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

REST = "rest"
NO_PREFIX = "\0"  # a parser without a prefix takes every word as it is, also one that begins with a dash


def take_all(parser: argparse.ArgumentParser, metavar: str) -> None:
    """Make the parser take all words as they are."""
    parser.prefix_chars = NO_PREFIX
    parser.add_argument(REST, nargs=argparse.REMAINDER, metavar=metavar)


def split_name(words: Sequence[str], default: str) -> tuple[str, list[str]]:
    """The cluster (`--name X` or `--name=X` in front), and the words after it; one `--` between them goes."""
    name, rest = default, list(words)
    if rest[:1] == ["--name"] and len(rest) > 1:
        name, rest = rest[1], rest[2:]
    elif rest and rest[0].startswith("--name="):
        name, rest = rest[0].partition("=")[2], rest[1:]
    return name, rest
