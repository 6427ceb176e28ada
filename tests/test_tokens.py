from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.twilio.tokens import StreamTokens


class CountingBytes:
    """Stands for the system's randomness: every answer differs, and all are foreseeable."""

    def __init__(self) -> None:
        self._numbers = count()

    def __call__(self, size: int) -> bytes:
        return next(self._numbers).to_bytes(size)


def book(remembered: int = 100) -> StreamTokens:
    return StreamTokens(CountingBytes(), ttl_s=30, remembered=remembered, remembered_s=1000)


def minted(tokens: StreamTokens, call_sid: str, now_s: float = 0) -> str:
    token = tokens.mint(call_sid, "AC1", now_s)
    assert token is not None
    return token


def test_a_token_opens_its_call_once() -> None:
    tokens = book()
    token = minted(tokens, "CA1")

    assert tokens.redeem(token, "CA1", "AC1", 29.9) is None
    assert tokens.redeem(token, "CA1", "AC1", 29.9) == "used"


def test_a_token_is_256_bits_and_no_two_are_alike() -> None:
    tokens = book()
    found = {minted(tokens, f"CA{number}") for number in range(100)}

    assert len(found) == 100
    assert {len(token) for token in found} == {43}


@pytest.mark.parametrize(
    ("call_sid", "account_sid", "now_s", "flaw"),
    [
        pytest.param("CA2", "AC1", 1, "unknown", id="call-nobody-announced"),
        pytest.param("CA3", "AC1", 1, "foreign", id="another-call"),
        pytest.param("CA1", "AC2", 1, "foreign", id="another-account"),
        pytest.param("CA1", "AC1", 30, "expired", id="too-late"),
    ],
)
def test_a_token_opens_nothing_else(
    call_sid: str, account_sid: str, now_s: float, flaw: str
) -> None:
    tokens = book()
    token = minted(tokens, "CA1")
    minted(tokens, "CA3")

    assert tokens.redeem(token, call_sid, account_sid, now_s) == flaw


@given(st.text())
def test_no_other_text_is_a_token(text: str) -> None:
    tokens = book()
    minted(tokens, "CA1")

    assert tokens.redeem(text, "CA1", "AC1", 0) == "foreign"


def test_a_repeated_webhook_gets_the_same_token_while_the_call_lives() -> None:
    tokens = book()
    token = minted(tokens, "CA1")
    assert tokens.mint("CA1", "AC1", 5) == token
    tokens.redeem(token, "CA1", "AC1", 5)

    assert tokens.mint("CA1", "AC1", 6) == token
    assert tokens.redeem(token, "CA1", "AC1", 6) == "used"
    assert tokens.mint("CA1", "AC2", 6) is None


def test_a_call_that_ended_never_gets_a_token_again() -> None:
    tokens = book()
    token = minted(tokens, "CA1")
    tokens.end("CA1", 10)
    tokens.end("CA1", 500)

    assert tokens.mint("CA1", "AC1", 1009) is None
    assert tokens.redeem(token, "CA1", "AC1", 11) == "used"
    assert tokens.mint("CA1", "AC1", 1010) is not None


def test_another_stream_of_a_live_call_gets_a_token_of_its_own_once() -> None:
    tokens = book()
    first = minted(tokens, "CA1")
    assert tokens.mint_another("CA1", 1) is None  # The first stream has not come.
    tokens.redeem(first, "CA1", "AC1", 2)
    second = tokens.mint_another("CA1", 3, ttl_s=10)
    assert second is not None

    assert second != first
    # A replayed webhook does not learn it, and nobody else can use it.
    assert tokens.mint("CA1", "AC1", 4) == first
    assert tokens.redeem(second, "CA1", "AC2", 4) == "foreign"
    assert tokens.redeem(first, "CA1", "AC1", 4) == "used"
    assert tokens.redeem(second, "CA1", "AC1", 12.9) is None
    assert tokens.redeem(second, "CA1", "AC1", 12.9) == "foreign"


def test_a_token_for_another_stream_expires_and_is_replaced_by_the_next() -> None:
    tokens = book()
    tokens.redeem(minted(tokens, "CA1"), "CA1", "AC1", 0)
    late = tokens.mint_another("CA1", 0, ttl_s=10)
    assert late is not None
    assert tokens.redeem(late, "CA1", "AC1", 10) == "expired"
    old, new = tokens.mint_another("CA1", 20), tokens.mint_another("CA1", 20)
    assert old is not None
    assert new is not None

    assert tokens.redeem(old, "CA1", "AC1", 21) == "foreign"
    assert tokens.redeem(new, "CA1", "AC1", 21) is None
    tokens.end("CA1", 22)
    assert tokens.mint_another("CA1", 23) is None
    assert tokens.mint_another("CA2", 23) is None


def test_a_full_book_refuses_rather_than_forgets() -> None:
    """An overflow must not open the way for a replay."""
    tokens = book(remembered=3)
    for number in range(3):
        minted(tokens, f"CA{number}")
        tokens.end(f"CA{number}", number)

    assert tokens.mint("CA9", "AC1", 10) is None
    assert tokens.mint("CA0", "AC1", 10) is None
    assert tokens.mint("CA9", "AC1", 1001) is not None


def test_the_book_shows_no_token() -> None:
    tokens = book()
    token = minted(tokens, "CA1")

    assert token not in repr(tokens)
    assert token not in repr(tokens._live)
