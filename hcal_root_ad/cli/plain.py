"""Text that a terminal shows and does not act on: names out of files may hold escape sequences."""

from __future__ import annotations

import re

_ACTED_ON = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and line feed, marks that turn the direction of writing, and halves of characters."""
_OF_A_LINE = re.compile("[\t\n\u2028\u2029]")


def plain(text: str) -> str:
    r"""The text with such characters spelled out.

    >>> plain("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _ACTED_ON.sub(_spelled, text)


def plain_line(text: str) -> str:
    """The same, in one line."""
    return _OF_A_LINE.sub(_spelled, plain(text))


def _spelled(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
