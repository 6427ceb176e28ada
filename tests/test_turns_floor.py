"""While somebody else has the floor, the model begins nothing, and nothing it owes is forgotten."""

from __future__ import annotations

from actors.messages import CancelResponse, CreateResponse
from actors.policy.turns import CONFIRM_MS, RETRY_MS, SERVER_TURN_MS, Phase, Turns
from tests.test_turns import TOOLS, finished, started

TURN = CreateResponse("turn")


def taken(**how: bool) -> Turns:
    """Turns of a call whose floor is taken."""
    turns = Turns(**how)
    turns.floor_taken()
    return turns


def test_what_is_wished_for_waits_until_the_floor_is_given() -> None:
    turns = taken()
    assert turns.wants(TOOLS, now_ms=0) == []
    assert turns.due_ms() is None

    assert turns.floor_given(now_ms=9_000) == [TOOLS]


def test_a_response_that_was_being_made_is_finished() -> None:
    turns = Turns()
    started(turns)
    turns.floor_taken()

    assert finished(turns) == []
    assert turns.phase is Phase.IDLE


def test_a_response_that_begins_is_cancelled_and_wished_for_again_if_it_was_ordered() -> None:
    turns = Turns()
    assert turns.wants(TOOLS, now_ms=0) == [TOOLS]
    turns.floor_taken()
    assert started(turns, purpose="tools") == [CancelResponse("r1")]
    assert finished(turns, status="cancelled") == []

    assert turns.floor_given(now_ms=9_000) == [TOOLS]


def test_an_order_that_nobody_confirms_is_given_again_only_when_the_floor_is_free() -> None:
    turns = Turns()
    turns.wants(TOOLS, now_ms=0)
    turns.floor_taken()
    assert turns.tick(now_ms=CONFIRM_MS) == []
    assert turns.due_ms() is None

    assert turns.floor_given(now_ms=9_000) == [TOOLS]


def test_the_servers_own_answer_to_what_the_caller_said_meanwhile_is_cancelled() -> None:
    turns = taken()
    turns.speech_started(now_ms=0)
    turns.speech_stopped(now_ms=1_000)
    assert started(turns) == [CancelResponse("r1")]
    finished(turns, status="cancelled")

    assert turns.floor_given(now_ms=9_000) == []
    assert turns.due_ms() is None


def test_an_answer_that_the_server_never_gave_is_not_asked_for() -> None:
    turns = taken()
    turns.speech_started(now_ms=0)
    turns.speech_stopped(now_ms=1_000)
    assert turns.tick(now_ms=1_000 + SERVER_TURN_MS) == []

    assert turns.floor_given(now_ms=9_000) == []
    assert turns.tick(now_ms=19_000) == []


def test_the_servers_own_answer_that_comes_late_is_cancelled_and_what_was_wished_for_comes() -> (
    None
):
    """The recogniser is often quicker than the model: the reply is known, the answer still owed."""
    turns = taken()
    turns.speech_started(now_ms=0)
    turns.speech_stopped(now_ms=1_000)
    assert turns.floor_given(now_ms=1_100) == []
    assert turns.wants(TOOLS, now_ms=1_200, about=frozenset({"c1"})) == []
    assert started(turns, now_ms=1_300) == [CancelResponse("r1")]

    assert finished(turns, status="cancelled", now_ms=1_400) == [TOOLS]


def test_the_servers_own_answer_stays_if_it_knows_what_came_of_the_question() -> None:
    turns = taken()
    turns.speech_started(now_ms=0)
    turns.speech_stopped(now_ms=1_000)
    turns.floor_given(now_ms=1_100)
    turns.wants(TOOLS, now_ms=1_150, about=frozenset({"c1"}))
    turns.output_accepted("c1")
    assert started(turns, now_ms=1_300) == []

    assert finished(turns, now_ms=2_000) == []


def test_what_the_caller_says_next_is_answered_as_ever() -> None:
    turns = taken()
    turns.speech_started(now_ms=0)
    turns.speech_stopped(now_ms=1_000)
    turns.floor_given(now_ms=1_100)
    turns.speech_started(now_ms=2_000)
    turns.speech_stopped(now_ms=3_000)

    assert started(turns, now_ms=3_300) == []


def test_without_a_server_that_answers_the_caller_is_answered_by_what_comes_behind() -> None:
    turns = taken(server_answers=False)
    turns.speech_started(now_ms=0)
    assert turns.speech_stopped(now_ms=1_000) == []
    assert turns.floor_given(now_ms=2_000) == []

    assert turns.wants(TOOLS, now_ms=3_000) == [TOOLS]
    assert started(turns, purpose="tools", now_ms=3_300) == []


def test_a_superfluous_response_that_fails_is_not_asked_for_again() -> None:
    turns = taken()
    started(turns)
    assert finished(turns, status="failed", now_ms=1_000) == []

    assert turns.floor_given(now_ms=2_000 + RETRY_MS[0]) == []


def test_a_lost_session_is_not_asked_for_what_was_not_wanted() -> None:
    turns = taken()
    turns.speech_started(now_ms=0)
    turns.speech_stopped(now_ms=1_000)
    turns.session_lost("nothing", hears_again=False, now_ms=1_500)
    turns.session_live(now_ms=2_000)

    assert turns.floor_given(now_ms=9_000) == []


def test_a_lost_session_is_asked_for_what_was_wished_for() -> None:
    turns = taken()
    turns.wants(TURN, now_ms=0)
    turns.session_lost("nothing", hears_again=False, now_ms=1_500)
    turns.session_live(now_ms=2_000)

    assert turns.floor_given(now_ms=9_000) == [TURN]
