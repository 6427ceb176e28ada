"""Dividing what was said into what was heard and what was not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.policy.transcript import WORD_CHARS, divide


@pytest.mark.parametrize(
    ("text", "heard_ms", "received_ms", "heard", "unheard"),
    [
        pytest.param("one two", 0, 100, "", "one two", id="nothing"),
        pytest.param("one two", 100, 100, "one two", "", id="all"),
        pytest.param("one two", 120, 100, "one two", "", id="more-than-all"),
        pytest.param("one two", 50, 100, "one", "two", id="at-the-space"),
        pytest.param("one two", 58, 100, "one", "two", id="behind-the-space"),
        pytest.param("one two", 90, 100, "one", "two", id="a-word-begun-is-unheard"),
        pytest.param("one two", 20, 100, "", "one two", id="the-first-word-begun-is-unheard"),
        pytest.param("", 50, 100, "", "", id="no-words"),
        pytest.param("だ" * 60, 50, 100, "だ" * 30, "だ" * 30, id="a-script-without-spaces"),
    ],
)
def test_an_item_is_divided(
    text: str, heard_ms: int, received_ms: int, heard: str, unheard: str
) -> None:
    assert divide(text, heard_ms, received_ms) == (heard, unheard)


@given(st.text("ab \n", max_size=80), st.integers(0, 2000), st.integers(0, 2000))
def test_no_word_is_lost_and_no_more_is_heard_than_its_share(
    text: str, heard_ms: int, received_ms: int
) -> None:
    heard, unheard = divide(text, heard_ms, received_ms)

    assert "".join((heard + unheard).split()) == "".join(text.split())
    if 0 < heard_ms < received_ms:
        assert len(heard) <= len(text) * heard_ms / received_ms
    if max((len(word) for word in text.split()), default=0) < WORD_CHARS:
        assert heard.split() + unheard.split() == text.split()
