"""Texts that callers have written: kept as they are, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ToolRefused
from gateway.tools.words import many_lines, one_line


def test_writing_of_any_language_stays_as_it_is() -> None:
    text = "Größe 10 µm, 価格, क्षि, नमस्ते, สวัสดี, 👩‍👩‍👧"

    assert one_line(f"  {text} ", "text", 100) == text
    assert many_lines(f"{text}\r\n\r\nb\rc\td\n", "text", 100) == f"{text}\n\nb\nc\td"


@pytest.mark.parametrize(
    "text", ["", "  ", "a\nb", "a\rb", "a\u2028b", "a\x85b", "a\0b", "a\x1bb", "\ud800", "a\u202eb"]
)
def test_what_is_no_line_of_writing_is_refused(text: str) -> None:
    with pytest.raises(ToolRefused, match=r"^subject: "):
        one_line(text, "subject", 100)


@pytest.mark.parametrize("text", ["", "\n", "a\u2029b", "a\x0bb", "a\x0cb", "a\x7fb", "a\u2066b"])
def test_what_is_no_writing_is_refused(text: str) -> None:
    with pytest.raises(ToolRefused, match=r"^text: "):
        many_lines(text, "text", 100)


def test_a_text_may_be_as_long_as_its_bound_and_no_longer() -> None:
    assert len(one_line("a" * 100, "text", 100)) == 100
    with pytest.raises(ToolRefused, match="text: has 101 characters, and may have 100"):
        many_lines("a" * 101, "text", 100)


@given(st.text())
def test_a_line_is_one_line_to_everybody(text: str) -> None:
    try:
        line = one_line(text, "text", 1_000)
    except ToolRefused:
        return
    assert line.splitlines() == [line]
    assert line.encode()
