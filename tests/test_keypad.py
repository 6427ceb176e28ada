"""The rules for keys by themselves; whole calls are in `test_call_keys`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.policy.confirmation import Confirmation
from actors.policy.keypad import (
    HOLD_MS,
    KEYS_MAX,
    PAUSE_MS,
    TRAILING_MS,
    Collect,
    Keypad,
    Told,
)


def typed(keypad: Keypad, digits: str, *, from_ms: float = 0.0) -> list[Told]:
    """Keys, a third of a second apart. Returns what was told at once."""
    told = [
        keypad.press(digit, now_ms=from_ms + 300 * number) for number, digit in enumerate(digits)
    ]
    return [one for one in told if one is not None]


def test_keys_are_told_after_a_pause() -> None:
    keypad = Keypad(tells=True)

    assert typed(keypad, "12") == []
    assert keypad.due_ms() == 300 + PAUSE_MS
    assert keypad.tick(now_ms=300 + PAUSE_MS - 1) is None
    assert keypad.tick(now_ms=300 + PAUSE_MS) == Told("12", ends_turn=False)
    assert keypad.due_ms() is None


def test_keys_wait_for_the_caller_to_stop_but_not_for_ever() -> None:
    keypad = Keypad(tells=True)
    keypad.caller_speaks = True

    assert typed(keypad, "1#") == []
    assert keypad.due_ms() == 300 + HOLD_MS
    assert keypad.tick(now_ms=300 + PAUSE_MS) is None
    keypad.caller_speaks = False
    assert keypad.tick(now_ms=300 + PAUSE_MS) == Told("1#", ends_turn=False)


def test_endless_keys_are_told_in_pieces() -> None:
    (told, *_) = typed(Keypad(tells=True), "7" * (KEYS_MAX + 1))

    assert told == Told("7" * KEYS_MAX, ends_turn=False)


def test_the_hash_key_of_a_turn_is_not_told_as_a_key() -> None:
    keypad = Keypad(tells=True, hash_ends_turn=True)

    assert typed(keypad, "12#") == [Told("12", ends_turn=True)]
    assert typed(keypad, "#", from_ms=5_000) == [Told("", ends_turn=True)]
    assert typed(Keypad(tells=False, hash_ends_turn=True), "12#") == [Told("", ends_turn=True)]


@pytest.mark.parametrize(
    ("asked", "keys", "digits"),
    [
        pytest.param(Collect(most=8), "12#", "12", id="to-the-end-key"),
        pytest.param(Collect(most=2), "12", "12", id="to-the-most"),
        pytest.param(Collect(most=3, end_key=None), "1#2", "1#2", id="without-an-end-key"),
        pytest.param(Collect(most=3, end_key="*"), "1#*", "1#", id="with-another"),
    ],
)
def test_a_collection_is_over_at_its_end(asked: Collect, keys: str, digits: str) -> None:
    keypad = Keypad(tells=True)
    collection = keypad.collect(asked, now_ms=0)
    over = [(typed(keypad, key), collection.is_over) for key in keys]

    assert over == [([], number == len(keys)) for number in range(1, len(keys) + 1)]
    assert collection.digits == digits


def test_a_collection_waits_longer_for_the_first_key_than_for_the_next() -> None:
    keypad = Keypad(tells=True)
    collection = keypad.collect(Collect(most=4, first_s=10, between_s=4), now_ms=100)

    assert collection.due_ms() == 10_100
    keypad.press("1", now_ms=9_000)
    assert collection.due_ms() == 13_000


def test_keys_that_were_typed_ahead_are_collected_and_not_told() -> None:
    keypad = Keypad(tells=True)
    typed(keypad, "73")
    collection = keypad.collect(Collect(most=4), now_ms=500)
    typed(keypad, "91", from_ms=600)

    assert collection.digits == "7391"
    keypad.collected(now_ms=1_000)
    assert keypad.tick(now_ms=1_000 + TRAILING_MS) is None


def test_an_end_key_too_many_is_nobodys_and_a_digit_is_told() -> None:
    keypad = Keypad(tells=True)
    keypad.collect(Collect(most=1), now_ms=0)
    typed(keypad, "1")
    keypad.collected(now_ms=0)

    assert typed(keypad, "#2", from_ms=100) == []
    assert keypad.tick(now_ms=10_000) == Told("2", ends_turn=False)


def test_whoever_is_given_digits_does_not_show_them() -> None:
    keypad = Keypad(tells=True)
    collection = keypad.collect(Collect(most=9, private=True), now_ms=0)
    typed(keypad, "739146")

    assert "7391" not in f"{keypad!r} {collection!r} {Told('739146', ends_turn=False)!r}"


STEP = st.sampled_from("0123456789*#") | st.sampled_from(
    ["speaks", "stops", "collect", "private", "enough"]
)


@given(st.lists(st.tuples(st.floats(0, 3_000), STEP), max_size=40))
def test_every_key_is_told_once_and_in_order_and_no_private_one_ever(
    steps: list[tuple[float, str]],
) -> None:
    """And what is due is done at its time: nothing is due for ever."""
    keypad, now_ms, told, pressed = Keypad(tells=True), 0.0, "", ""

    def tell(one: Told | None) -> None:
        nonlocal told
        told += one.digits if one else ""

    for after_ms, step in [*steps, (0.0, "stops"), (0.0, "enough"), (HOLD_MS, "stops")]:
        until_ms = now_ms + after_ms
        while (due_ms := keypad.due_ms()) is not None and due_ms <= until_ms:
            now_ms = max(now_ms, due_ms)
            tell(keypad.tick(now_ms=now_ms))
        now_ms = until_ms
        match step:
            case "speaks" | "stops":
                keypad.caller_speaks = step == "speaks"
            case "collect" | "private" if keypad.collection is None:
                asked = Collect(most=5, private=step == "private")
                keypad.collect(asked, now_ms=now_ms)
            case "enough" if keypad.collection is not None:
                keypad.collected(now_ms=now_ms)
            case key if len(key) == 1:
                key = "P" if keypad.is_private else key
                pressed += key
                tell(keypad.press(key, now_ms=now_ms))
            case _:
                pass

    assert keypad.due_ms() is None
    assert "P" not in told
    rest = iter(pressed)
    assert all(key in rest for key in told)
    if not {"collect", "private"} & {step for _, step in steps}:
        assert told == pressed


def test_what_was_typed_ahead_is_not_more_than_was_asked_for() -> None:
    keypad = Keypad(tells=True)
    typed(keypad, "123456")
    collection = keypad.collect(Collect(most=4), now_ms=2_000)

    assert (collection.digits, collection.is_over) == ("1234", True)


def test_a_digit_too_many_of_a_private_number_is_told_to_nobody() -> None:
    keypad = Keypad(tells=True)
    keypad.collect(Collect(most=4, private=True), now_ms=0)
    typed(keypad, "1234")
    keypad.collected(now_ms=900)
    assert typed(keypad, "5", from_ms=900 + TRAILING_MS - 1) == []

    assert keypad.is_private
    assert keypad.tick(now_ms=900 + TRAILING_MS + PAUSE_MS) is None
    assert not keypad.is_private


def test_a_key_that_comes_later_is_a_key_like_any_other() -> None:
    """Also when nobody has looked at the clock in between."""
    keypad = Keypad(tells=True)
    keypad.collect(Collect(most=4), now_ms=0)
    typed(keypad, "1234")
    keypad.collected(now_ms=900)

    assert typed(keypad, "#", from_ms=900 + TRAILING_MS) == [Told("#", ends_turn=False)]


# Answers to a question.


def asking(keypad: Keypad, *, heard_ms: float = 1_000) -> Confirmation:
    """A question that is heard at that time."""
    one = Confirmation(30_000)
    keypad.asks(one)
    one.heard(now_ms=heard_ms)
    return one


def test_keys_are_answers_while_the_caller_is_asked_and_the_model_is_told_of_none() -> None:
    keypad = Keypad(tells=True)
    assert typed(keypad, "77") == []
    one = asking(keypad)
    assert typed(keypad, "9", from_ms=900) == []
    early = one.reply

    assert typed(keypad, "1", from_ms=2_000) == []
    one.tick(now_ms=3_000)
    assert (early, one.reply) == (None, "yes")
    keypad.asked(now_ms=3_100)
    assert typed(keypad, "#", from_ms=3_400) == []
    assert keypad.tick(now_ms=9_000) is None
    assert not keypad.is_asking


def test_what_comes_long_behind_an_answer_is_told_as_ever() -> None:
    keypad = Keypad(tells=True)
    asking(keypad)
    keypad.asked(now_ms=2_000)
    typed(keypad, "5", from_ms=2_100 + TRAILING_MS)

    assert keypad.tick(now_ms=9_000) == Told("5", ends_turn=False)


def test_a_tool_that_waits_for_keys_already_has_them_and_they_answer_nothing() -> None:
    keypad = Keypad(tells=True)
    collection = keypad.collect(Collect(most=4), now_ms=0)
    one = asking(keypad)
    typed(keypad, "1", from_ms=2_000)

    assert collection.digits == "1"
    assert one.reply is None


def test_the_hash_key_ends_a_turn_while_the_caller_is_asked_too() -> None:
    keypad = Keypad(tells=True, hash_ends_turn=True)
    one = asking(keypad)

    assert typed(keypad, "#", from_ms=2_000) == [Told("", ends_turn=True)]
    assert one.reply is None


def test_keys_pressed_before_a_collection_count_unless_they_are_to_be_fresh() -> None:
    for fresh, digits in ((False, "12"), (True, "")):
        keypad = Keypad(tells=True)
        typed(keypad, "12")
        collection = keypad.collect(Collect(most=4, fresh=fresh), now_ms=1_000)

        assert collection.digits == digits
        keypad.collected(now_ms=1_100)
        assert keypad.tick(now_ms=9_000) is None
