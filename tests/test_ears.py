"""When the session hears the caller: behind a greeting that is to be heard, and never a PIN."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import (
    ItemAudio,
    PlayoutIdle,
    ResponseFinished,
    ResponseStarted,
    SessionLive,
)
from actors.policy.ears import GREETING_MAX_MS, Ears, GreetingFact

LIVE = SessionLive("sess_1")
GREETS = ResponseStarted("r_1", "greeting")
AUDIO = ItemAudio("r_1", "i_1", b"")
DONE = ResponseFinished("r_1", "completed")
HEARD = PlayoutIdle(by_mark=True)


def ears(*facts: GreetingFact) -> Ears:
    one = Ears(greeting_first=True)
    for fact in facts:
        one.note(fact, now_ms=0)
    return one


@pytest.mark.parametrize(
    ("facts", "hears"),
    [
        pytest.param((), False, id="before-the-session"),
        pytest.param((LIVE, GREETS, AUDIO), False, id="while-it-is-made"),
        pytest.param((LIVE, GREETS, AUDIO, DONE), False, id="while-it-is-heard"),
        pytest.param((LIVE, GREETS, AUDIO, HEARD), False, id="in-a-pause-of-it"),
        pytest.param((LIVE, GREETS, AUDIO, DONE, HEARD), True, id="behind-it"),
        pytest.param((LIVE, GREETS, AUDIO, HEARD, DONE), True, id="when-it-ended-late"),
        pytest.param((LIVE, GREETS, DONE), True, id="without-a-word"),
        pytest.param(
            (LIVE, GREETS, ResponseFinished("r_1", "failed")), False, id="until-it-is-made-again"
        ),
    ],
)
def test_the_caller_is_heard_behind_the_greeting(
    facts: tuple[GreetingFact, ...], hears: bool
) -> None:
    assert ears(*facts).session_hears(now_ms=1) is hears


def test_the_greeting_that_makes_up_for_a_failed_one_counts() -> None:
    one = ears(LIVE, GREETS, ResponseFinished("r_1", "failed"), ResponseStarted("r_2", "retry"))
    one.note(ItemAudio("r_2", "i_2", b""), now_ms=0)
    one.note(ResponseFinished("r_2", "completed"), now_ms=0)

    assert not one.session_hears(now_ms=1)
    one.note(HEARD, now_ms=0)
    assert one.session_hears(now_ms=1)


@given(st.lists(st.sampled_from([LIVE, GREETS, AUDIO, DONE, HEARD])))
def test_whatever_becomes_of_it_the_caller_is_heard_in_the_end_and_stays_so(
    facts: list[GreetingFact],
) -> None:
    one = ears(LIVE, *facts)

    assert one.session_hears(now_ms=GREETING_MAX_MS)
    for fact in facts:
        one.note(fact, now_ms=GREETING_MAX_MS)
        assert one.session_hears(now_ms=GREETING_MAX_MS)


def test_an_ordinary_greeting_keeps_nobody_unheard_and_a_private_moment_does() -> None:
    one = Ears()

    assert one.session_hears(now_ms=0)
    one.is_private = True
    assert not one.session_hears(now_ms=0)
