"""What a caller had a model write, as text that may be kept, sent on, and read back. Pure."""

from __future__ import annotations

import unicodedata
from typing import Final

from actors.errors import ToolRefused

_UNSEEN: Final = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of what is no writing: controls, halves of pairs, and other ends of lines."""
_TURNS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""Marks that make text look as if it said something else."""


def one_line(text: str, what: str, max_chars: int) -> str:
    """Text for a place that takes one line, without the space around it.

    Raises:
        ToolRefused: It is empty, longer than that, or more than a line of writing.

    """
    return _checked(text.strip(), what, max_chars, "")


def many_lines(text: str, what: str, max_chars: int) -> str:
    r"""Text of any lines, which end in `\n`. Raises as `one_line` does."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return _checked(lines, what, max_chars, "\n\t")


def _checked(text: str, what: str, max_chars: int, besides: str) -> str:
    if not text:
        raise ToolRefused(f"{what}: must not be empty")
    if len(text) > max_chars:
        raise ToolRefused(f"{what}: has {len(text)} characters, and may have {max_chars}")
    for one in text:
        if one in _TURNS or (unicodedata.category(one) in _UNSEEN and one not in besides):
            raise ToolRefused(f"{what}: holds characters that are no writing; leave them out")
    return text
