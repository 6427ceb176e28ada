"""The rules of a landing by themselves; whole calls are in `test_call_limits`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.messages import (
    PlayoutIdle,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    SessionLive,
    SpeechStarted,
    SpeechStopped,
    Usage,
)
from actors.policy.activity import ActivityFact
from actors.policy.landing import QUIET_MS, Landing, Step

MODEL = "gpt-realtime-2.1"
CENT = ResponseFinished("r", "completed", usage=Usage(output_audio_tokens=157))
"""One and five thousandths."""


def landing(**how: float) -> Landing:
    one = Landing(MODEL, how.pop("call_s", 600.0), **how)
    one.note(SessionLive("sess_1"), now_ms=0)
    return one


def test_nothing_is_watched_that_was_not_asked_for() -> None:
    assert not landing().is_wanted
    assert landing().due_ms() is None


def test_the_agent_is_told_before_the_end_and_speaks_when_nobody_does() -> None:
    one = landing(wrap_up_s=30.0)

    assert one.due_ms() == 570_000
    one.note(SpeechStarted("i", 0), now_ms=569_000)
    assert one.tick(now_ms=570_000) is Step.TELL
    assert one.due_ms() is None
    one.note(SpeechStopped("i", 0), now_ms=572_000)
    assert one.due_ms() == 572_000 + QUIET_MS
    assert one.tick(now_ms=572_000 + QUIET_MS) is Step.SPEAK
    assert one.due_ms() is None


def test_an_answer_that_begins_meanwhile_is_enough() -> None:
    one = landing(wrap_up_s=30.0)
    one.tick(now_ms=570_000)
    one.note(ResponseStarted("r"), now_ms=570_100)
    one.note(ResponseFinished("r", "completed"), now_ms=570_200)

    assert one.due_ms() is None


def test_a_call_shorter_than_its_landing_is_told_at_half_of_it() -> None:
    assert landing(call_s=20.0, wrap_up_s=30.0).due_ms() == 10_000


def test_cost_is_counted_and_lands_with_the_same_words() -> None:
    one = landing(wrap_up_s=30.0, max_cost_usd=0.02)

    assert one.note(CENT, now_ms=1_000) is None
    assert one.note(CENT, now_ms=2_000) is Step.TELL
    assert one.note(CENT, now_ms=3_000) is None
    assert one.cause == "cost"
    assert one.tick(now_ms=3_000 + QUIET_MS) is Step.SPEAK
    assert one.tick(now_ms=31_999) is None
    assert one.tick(now_ms=32_000) is Step.END


def test_a_cost_without_a_landing_ends_at_once() -> None:
    one = landing(max_cost_usd=0.01)

    assert one.note(CENT, now_ms=1_000) is None
    assert one.tick(now_ms=1_000) is Step.END


def test_whoever_was_told_of_the_length_is_not_told_of_the_cost_and_ends_all_the_same() -> None:
    one = landing(wrap_up_s=30.0, max_cost_usd=0.01)
    one.tick(now_ms=570_000)

    assert one.note(CENT, now_ms=575_000) is None
    assert one.due_ms() == 575_000 + QUIET_MS
    one.tick(now_ms=575_000 + QUIET_MS)
    assert one.due_ms() == 605_000


def test_the_time_that_is_left_is_the_lesser_of_both() -> None:
    one = landing(wrap_up_s=30.0, max_cost_usd=0.01)

    assert one.left_s(now_ms=570_000) == 30
    one.note(CENT, now_ms=400_000)
    assert one.left_s(now_ms=400_000) == 30
    late = landing(wrap_up_s=30.0, max_cost_usd=0.01)
    late.note(CENT, now_ms=590_000)
    assert late.left_s(now_ms=590_000) == 10


FACTS: list[ActivityFact] = [
    CENT,
    ResponseStarted("r"),
    SpeechStarted("i", 0),
    SpeechStopped("i", 0),
    PlayoutStarted("i", "r"),
    PlayoutIdle(by_mark=True),
]


@given(st.lists(st.tuples(st.floats(0, 20_000), st.sampled_from(FACTS)), max_size=60))
def test_each_step_is_taken_once_and_what_is_due_is_done(
    steps: list[tuple[float, ActivityFact]],
) -> None:
    one, now_ms, taken = landing(wrap_up_s=30.0, max_cost_usd=0.05), 0.0, list[Step]()

    def take(step: Step | None) -> None:
        if step is not None:
            taken.append(step)

    for after_ms, fact in steps:
        until_ms = now_ms + after_ms
        while (due_ms := one.due_ms()) is not None and due_ms <= until_ms:
            if Step.END in taken:
                break
            now_ms = max(now_ms, due_ms)
            step = one.tick(now_ms=now_ms)
            assert step is not None
            take(step)
        now_ms = until_ms
        take(one.note(fact, now_ms=now_ms))

    assert len(taken) == len(set(taken))
    assert taken == sorted(taken, key=[Step.TELL, Step.SPEAK, Step.END].index)
