"""How many messages a text is billed as."""

from __future__ import annotations

import pytest

from gateway.tools.segments import segments


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("", 1, id="nothing"),
        pytest.param("a" * 160, 1, id="one, to the last place"),
        pytest.param("a" * 161, 2, id="one more"),
        pytest.param("a" * 306, 2, id="two parts of 153"),
        pytest.param("a" * 307, 3, id="one more than two parts"),
        pytest.param("€" * 80, 1, id="two places each"),
        pytest.param("€" * 81, 2, id="two places each, one more"),
        pytest.param("a" * 152 + "€" + "a" * 152, 3, id="a character is not divided"),
        pytest.param("ä ß é Ω \n [~]", 1, id="of the alphabet"),
        pytest.param("ç" * 70, 1, id="not of the alphabet"),
        pytest.param("ç" * 71, 2, id="not of the alphabet, one more"),
        pytest.param("a" * 70 + "ç", 2, id="one such character is enough"),
        pytest.param("😀" * 35, 1, id="surrogates"),
        pytest.param("😀" * 36, 2, id="surrogates, one more"),
        pytest.param("a" * 66 + "😀" + "a" * 66, 3, id="a pair is not divided"),
        pytest.param("a" * 1600, 11, id="the longest"),
    ],
)
def test_a_text_takes_so_many_messages(text: str, count: int) -> None:
    assert segments(text) == count
