"""The rules by themselves; whole calls that hang up are in `test_call_hangup`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import HangupAsked
from actors.policy.hangup import GOODBYE_MAX_MS, GRACE_MS, SETTLED, Answer, Farewell

ASKED = HangupAsked("call_1", "done", "resp_1")


def after_goodbye(*, heard_ms: float = 5_000.0) -> Farewell:
    """A goodbye was generated, played and heard; hanging up was asked for at 1000."""
    farewell = Farewell()
    farewell.response_started("resp_1")
    farewell.playout_started()
    farewell.asks(ASKED, now_ms=1_000.0)
    farewell.response_finished("resp_1", now_ms=1_000.0)
    farewell.playout_idle(by_mark=True, now_ms=heard_ms)
    return farewell


def test_nobody_hangs_up_unasked() -> None:
    assert Farewell().due_ms() is None


def test_the_line_ends_a_grace_after_the_last_mark() -> None:
    farewell = after_goodbye()

    assert farewell.due_ms() == 5_000 + GRACE_MS
    assert farewell.goodbye_heard()


def test_a_goodbye_that_is_still_playing_is_waited_for() -> None:
    farewell = after_goodbye()
    farewell.playout_started()

    assert farewell.due_ms() == 1_000 + GOODBYE_MAX_MS
    assert not farewell.goodbye_heard()


def test_a_goodbye_that_is_still_generated_is_waited_for() -> None:
    farewell = after_goodbye()
    farewell.response_started("resp_2")

    assert farewell.due_ms() == 1_000 + GOODBYE_MAX_MS
    assert not farewell.goodbye_heard()


def test_while_there_is_no_stream_nobody_hangs_up_on_words_that_are_held_back() -> None:
    farewell = after_goodbye()
    farewell.moved(is_away=True, now_ms=5_100.0)

    assert farewell.due_ms() == 1_000 + GOODBYE_MAX_MS
    assert not farewell.goodbye_heard()

    farewell.moved(is_away=False, now_ms=9_000.0)

    assert farewell.due_ms() == 9_000 + GRACE_MS


def test_the_words_of_the_very_response_that_asked_are_waited_for() -> None:
    """The request may overtake the news that its response was handed to the carrier."""
    farewell = Farewell()
    farewell.asks(ASKED, now_ms=1_000.0)

    assert farewell.due_ms() == 1_000 + GOODBYE_MAX_MS

    farewell.response_finished("resp_1", now_ms=1_010.0)

    assert farewell.due_ms() == 1_010 + GRACE_MS


def test_without_a_goodbye_nothing_is_waited_for() -> None:
    """All was heard long ago, and the last response said nothing."""
    farewell = Farewell()
    farewell.playout_started()
    farewell.playout_idle(by_mark=True, now_ms=100.0)
    farewell.response_started("resp_1")
    farewell.response_finished("resp_1", now_ms=900.0)
    farewell.asks(ASKED, now_ms=9_000.0)

    assert farewell.due_ms() == 9_000


@pytest.mark.parametrize(
    ("heard_ms", "due_ms"),
    [
        pytest.param(31_000 - GRACE_MS - 1, 31_000 - 1, id="just-before-the-bound"),
        pytest.param(31_000 - GRACE_MS, 31_000, id="at-the-bound"),
        pytest.param(31_000 - GRACE_MS + 1, 31_000, id="just-behind-the-bound"),
        pytest.param(90_000, 31_000, id="far-behind-the-bound"),
    ],
)
def test_the_wait_has_a_bound(heard_ms: float, due_ms: float) -> None:
    assert after_goodbye(heard_ms=heard_ms).due_ms() == due_ms


def test_the_caller_calls_it_off() -> None:
    farewell = after_goodbye()

    assert farewell.called_off() == ASKED
    assert farewell.due_ms() is None
    assert farewell.called_off() is None


def test_what_was_called_off_may_be_asked_again_and_waits_anew() -> None:
    farewell = after_goodbye()
    farewell.called_off()
    farewell.caller_stopped()

    again = HangupAsked("call_2", "", "resp_2")
    assert farewell.asks(again, now_ms=60_000.0) is Answer.WAITING
    assert farewell.due_ms() == 60_000 + GOODBYE_MAX_MS


@pytest.mark.parametrize("finished_first", [True, False])
def test_a_request_of_a_response_the_caller_spoke_over_is_called_off_on_arrival(
    finished_first: bool,
) -> None:
    """It was on its way when the caller began."""
    farewell = Farewell()
    farewell.response_started("resp_1")
    if finished_first:
        farewell.response_finished("resp_1", now_ms=0.0)
    farewell.called_off()
    farewell.caller_stopped()

    assert farewell.asks(ASKED, now_ms=10.0) is Answer.CALLED_OFF
    assert farewell.due_ms() is None


def test_nobody_hangs_up_on_a_caller_who_is_speaking() -> None:
    """Also not at the word of a response that began while they were."""
    farewell = Farewell()
    farewell.called_off()
    farewell.response_started("resp_1")
    farewell.response_finished("resp_1", now_ms=0.0)

    assert farewell.asks(ASKED, now_ms=10.0) is Answer.CALLED_OFF
    assert farewell.due_ms() is None


def test_asking_twice_neither_hurries_nor_delays() -> None:
    farewell = after_goodbye()

    again = HangupAsked("call_2", "", "resp_2")
    assert farewell.asks(again, now_ms=4_000.0) is Answer.ALREADY
    assert farewell.asked == ASKED
    assert farewell.due_ms() == 5_000 + GRACE_MS


def test_a_goodbye_that_only_the_clock_saw_end_is_not_called_heard() -> None:
    farewell = after_goodbye()
    farewell.playout_started()
    farewell.playout_idle(by_mark=False, now_ms=6_000.0)

    assert farewell.due_ms() == 6_000 + GRACE_MS
    assert not farewell.goodbye_heard()


def test_an_end_that_was_lost_does_not_count_forever() -> None:
    farewell = Farewell()
    farewell.response_started("resp_lost")
    farewell.response_started("resp_1")
    farewell.asks(ASKED, now_ms=0.0)
    farewell.response_finished("resp_1", now_ms=10.0)

    assert farewell.due_ms() == 10 + GRACE_MS


@pytest.mark.parametrize(("later", "known"), [(SETTLED - 1, True), (SETTLED, False)])
def test_a_response_is_remembered_for_eight_more(later: int, known: bool) -> None:
    farewell = Farewell()
    farewell.response_finished("resp_1", now_ms=0.0)
    for number in range(later):
        farewell.response_finished(f"later_{number}", now_ms=0.0)
    farewell.asks(ASKED, now_ms=1_000.0)

    assert farewell.due_ms() == (1_000 if known else 1_000 + GOODBYE_MAX_MS)


STEPS = st.sampled_from(
    ["asks", "speech", "silence", "started", "finished", "playing", "idle", "overdue"]
)


@given(st.lists(st.tuples(STEPS, st.integers(0, 20_000)), max_size=40))
def test_whatever_happens_the_line_ends_in_time_and_never_mid_word(
    steps: list[tuple[str, int]],
) -> None:
    """Against the plainest model: who is speaking, and since when nobody is."""
    farewell = Farewell()
    now_ms = asked_ms = quiet_ms = 0.0
    playing = generating = asked = speaking = False
    for number, (step, later_ms) in enumerate(steps):
        now_ms += later_ms
        match step:
            case "asks":
                # As the tool executor does it: behind the end of the response that asked.
                farewell.response_finished(f"resp_{number}", now_ms=now_ms)
                generating, quiet_ms = False, now_ms
                wish = HangupAsked(f"call_{number}", "", f"resp_{number}")
                answer = farewell.asks(wish, now_ms=now_ms)
                if speaking:
                    assert answer is Answer.CALLED_OFF
                else:
                    assert answer is (Answer.ALREADY if asked else Answer.WAITING)
                if answer is Answer.WAITING:
                    asked, asked_ms = True, now_ms
            case "speech":
                assert (farewell.called_off() is not None) == asked
                asked, speaking = False, True
            case "silence":
                farewell.caller_stopped()
                speaking = False
            case "started":
                farewell.response_started(f"resp_{number}")
                generating = True
            case "finished":
                farewell.response_finished(f"resp_{number}", now_ms=now_ms)
                generating, quiet_ms = False, now_ms
            case "playing":
                farewell.playout_started()
                playing = True
            case _:
                farewell.playout_idle(by_mark=step == "idle", now_ms=now_ms)
                playing, quiet_ms = False, now_ms
        due_ms = farewell.due_ms()

        assert (due_ms is not None) == asked
        if due_ms is not None:
            assert asked_ms <= due_ms <= asked_ms + GOODBYE_MAX_MS
            if playing or generating:
                assert due_ms == asked_ms + GOODBYE_MAX_MS
                assert not farewell.goodbye_heard()
            elif due_ms < asked_ms + GOODBYE_MAX_MS:
                assert due_ms == max(asked_ms, quiet_ms + GRACE_MS)
