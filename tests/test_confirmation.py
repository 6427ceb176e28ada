"""What counts as an answer to a question, and when."""

from __future__ import annotations

from typing import Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.policy.confirmation import KEY_ALONE_MS, LAST_WORDS_MS, TURNS_MAX, Confirmation

HEARD_MS = 5_000.0
WITHIN_MS = 30_000.0


def asked(heard_ms: float | None = HEARD_MS) -> Confirmation:
    """A question that was heard."""
    one = Confirmation(WITHIN_MS)
    if heard_ms is not None:
        one.heard(now_ms=heard_ms)
    return one


def says(one: Confirmation, text: str, began_ms: float, item_id: str = "u1") -> None:
    """The caller says this for a second, and it is understood half a second later."""
    one.speech_started(item_id, began_ms=began_ms)
    one.speech_stopped(now_ms=began_ms + 1_000)
    one.understood(item_id, text, now_ms=began_ms + 1_500)


@pytest.mark.parametrize(("digit", "reply"), [("1", "yes"), ("2", "no"), ("3", "other")])
def test_a_key_answers_once_the_question_was_heard(digit: str, reply: str) -> None:
    one = asked(None)
    one.pressed(digit, now_ms=HEARD_MS - 1)
    one.heard(now_ms=HEARD_MS)
    ahead = one.reply

    one.pressed(digit, now_ms=HEARD_MS + 1)
    one.tick(now_ms=HEARD_MS + KEY_ALONE_MS)
    early = one.reply
    one.tick(now_ms=HEARD_MS + 1 + KEY_ALONE_MS)
    assert (ahead, early, one.reply) == (None, None, reply)


@pytest.mark.parametrize(
    ("digits", "reply"),
    [("123456#", "other"), ("11", "other"), ("2345", "other"), ("1#", "yes"), ("2#", "no")],
)
def test_a_key_answers_only_when_it_stays_alone(digits: str, reply: str) -> None:
    """Whoever types a PIN that begins with 1 has not agreed to anything."""
    one = asked()
    at_ms = HEARD_MS
    for digit in digits:
        at_ms += 600
        one.tick(now_ms=at_ms)
        one.pressed(digit, now_ms=at_ms)
    one.tick(now_ms=at_ms + KEY_ALONE_MS)

    assert one.reply == reply


@pytest.mark.parametrize(("text", "reply"), [("Yes.", "yes"), ("No.", "no"), ("Maybe.", "other")])
def test_words_answer_if_they_began_when_the_question_had_been_heard(text: str, reply: str) -> None:
    for began_ms, expected in ((HEARD_MS, None), (HEARD_MS + 1, reply)):
        one = asked()
        says(one, text, began_ms)

        assert one.reply == expected


def test_words_of_which_nobody_heard_the_beginning_count_for_nothing() -> None:
    one = asked()
    one.understood("u9", "Yes.", now_ms=HEARD_MS + 900)

    assert one.reply is None


def test_a_turn_that_is_heard_a_second_time_began_when_it_first_did() -> None:
    one = asked()
    one.speech_started("u1", began_ms=HEARD_MS - 500)
    one.speech_started("u1", began_ms=HEARD_MS + 500)
    one.understood("u1", "Yes.", now_ms=HEARD_MS + 900)

    assert one.reply is None


def test_a_turn_that_is_divided_otherwise_when_heard_again_began_with_its_earliest_word() -> None:
    one = asked()
    one.speech_started("u1", began_ms=HEARD_MS - 900)
    one.speech_started("u2", began_ms=HEARD_MS + 500)  # A cough, and the session is lost.
    one.speech_started("u1", began_ms=HEARD_MS - 900)
    one.speech_started("u2", began_ms=HEARD_MS - 300)  # The next one hears two turns in the first.
    one.speech_stopped(now_ms=HEARD_MS + 1_500)
    one.understood("u2", "Yes.", now_ms=HEARD_MS + 1_900)
    one.tick(now_ms=HEARD_MS + 1_900 + LAST_WORDS_MS)

    assert one.reply is None


def test_a_cough_is_no_answer() -> None:
    one = asked()
    says(one, "...", HEARD_MS + 100)

    assert one.reply is None


def test_a_yes_waits_for_what_is_said_behind_it() -> None:
    one = asked()
    one.speech_started("u1", began_ms=HEARD_MS + 100)
    one.speech_stopped(now_ms=HEARD_MS + 600)
    one.speech_started("u2", began_ms=HEARD_MS + 900)
    one.understood("u1", "Yes.", now_ms=HEARD_MS + 1_000)
    assert one.reply is None

    one.speech_stopped(now_ms=HEARD_MS + 1_900)
    one.understood("u2", "But not today.", now_ms=HEARD_MS + 2_500)
    assert one.reply == "other"


def test_a_yes_does_not_wait_forever_for_the_words_of_a_noise() -> None:
    one = asked()
    one.speech_started("u1", began_ms=HEARD_MS + 100)
    one.speech_started("u2", began_ms=HEARD_MS + 900)
    one.understood("u1", "Yes.", now_ms=HEARD_MS + 1_000)
    one.speech_stopped(now_ms=HEARD_MS + 1_400)
    assert one.due_ms() == HEARD_MS + 1_400 + LAST_WORDS_MS

    one.tick(now_ms=HEARD_MS + 1_399 + LAST_WORDS_MS)
    assert one.reply is None
    one.tick(now_ms=HEARD_MS + 1_400 + LAST_WORDS_MS)
    assert one.reply == "yes"


def test_whoever_has_said_yes_and_does_not_stop_speaking_has_not_agreed() -> None:
    one = asked()
    one.speech_started("u1", began_ms=HEARD_MS + 100)
    one.speech_started("u2", began_ms=HEARD_MS + 900)
    one.understood("u1", "Yes.", now_ms=HEARD_MS + 1_000)
    one.tick(now_ms=HEARD_MS + WITHIN_MS)

    assert one.reply == "other"


def test_silence_is_an_answer_at_the_end_of_the_time_and_not_before() -> None:
    one = asked()
    assert one.due_ms() == HEARD_MS + WITHIN_MS
    one.tick(now_ms=HEARD_MS + WITHIN_MS - 1)
    assert one.reply is None

    one.tick(now_ms=HEARD_MS + WITHIN_MS)
    assert one.reply == "silence"


def test_an_answer_behind_the_time_is_none() -> None:
    one = asked()
    one.pressed("1", now_ms=HEARD_MS + WITHIN_MS)
    says(one, "Yes.", HEARD_MS + WITHIN_MS - 100)
    one.tick(now_ms=HEARD_MS + WITHIN_MS + 2_000)

    assert one.reply == "silence"


def test_a_question_that_is_asked_again_forgets_what_was_said_to_the_first() -> None:
    one = asked()
    one.unheard()
    one.pressed("1", now_ms=HEARD_MS + 100)
    says(one, "Yes.", HEARD_MS + 100)
    one.heard(now_ms=HEARD_MS + 9_000)
    one.tick(now_ms=HEARD_MS + 9_000)

    assert one.reply is None
    assert one.due_ms() == HEARD_MS + 9_000 + WITHIN_MS


def test_a_noisy_line_fills_no_memory_and_answers_nothing() -> None:
    one = asked()
    for number in range(TURNS_MAX + 1):
        one.speech_started(f"u{number}", began_ms=HEARD_MS + number + 1)
    one.understood(f"u{TURNS_MAX}", "Yes.", now_ms=HEARD_MS + 900)

    assert one.reply is None


@attrs.frozen
class Event:
    """Something that happens on the line, so long after what was before."""

    what: Literal["key", "starts", "stops", "words", "tick"]
    after_ms: int
    detail: str
    item: int


EVENTS = st.lists(
    st.builds(
        Event,
        st.sampled_from(["key", "starts", "stops", "words", "tick"]),
        st.integers(0, 4_000),
        st.sampled_from(["1", "2", "Yes.", "No.", "Yes, but.", "", "Ja, bitte."]),
        st.integers(0, 3),
    ),
    max_size=40,
)


@given(EVENTS, st.integers(0, 40))
def test_a_yes_is_never_made_of_anything_but_an_answer_in_time(
    happens: list[Event], heard_at: int
) -> None:
    """Whatever happens in whatever order, and whatever was said or pressed before."""
    one, now_ms, heard_ms = Confirmation(WITHIN_MS), 0.0, None
    began: dict[str, float] = {}
    grounds = False
    for number, event in enumerate(happens):
        now_ms += event.after_ms
        if number == heard_at:
            heard_ms = now_ms
            one.heard(now_ms=now_ms)
        item_id = f"u{event.item}"
        in_time = heard_ms is not None and now_ms < heard_ms + WITHIN_MS
        match event.what:
            case "key":
                one.pressed(event.detail, now_ms=now_ms)
                grounds |= in_time and event.detail == "1" and now_ms > (heard_ms or 0)
            case "starts":
                one.speech_started(item_id, began_ms=now_ms)
                began.setdefault(item_id, now_ms)
            case "stops":
                one.speech_stopped(now_ms=now_ms)
            case "words":
                one.understood(item_id, event.detail, now_ms=now_ms)
                began_ms = began.pop(item_id, None)
                is_late = began_ms is not None and heard_ms is not None and began_ms > heard_ms
                grounds |= in_time and is_late and event.detail in ("Yes.", "Ja, bitte.")
            case "tick":
                one.tick(now_ms=now_ms)
        assert one.reply != "yes" or grounds
        assert one.reply is None or heard_ms is not None
        due_ms = one.due_ms()
        if due_ms is not None:
            assert heard_ms is not None
            assert due_ms <= heard_ms + WITHIN_MS
    if heard_ms is not None:
        one.tick(now_ms=heard_ms + WITHIN_MS + LAST_WORDS_MS)
        assert one.reply is not None
