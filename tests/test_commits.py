"""Turns whose ends the session is told of: which of them another session has to hear again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.messages import CallerTranscript, ResponseFinished, ResponseStarted, SessionFact
from actors.policy.commits import OPEN_MAX, Commit, Commits

WRITTEN = CallerTranscript("item_1", "Hello.")
BEGUN = ResponseStarted("resp_1")
ANSWERED = ResponseFinished("resp_1", "completed")


def open_turns(commits: Commits) -> list[Commit]:
    found, number = [], 0
    while (commit := commits.after(number)) is not None:
        found.append(commit)
        number = commit.number
    return found


def test_a_turn_is_open_until_it_was_written_down() -> None:
    commits = Commits()

    assert commits.make(800) == 1
    assert open_turns(commits) == [Commit(1, 800)]
    commits.take(WRITTEN)
    assert open_turns(commits) == []
    assert commits.understood_bytes == 800


def test_an_answer_understands_the_turns_that_ended_before_it_began() -> None:
    commits = Commits()
    commits.make(800)
    commits.take(BEGUN)
    commits.make(1600)
    commits.take(ANSWERED)

    assert open_turns(commits) == [Commit(2, 1600)]
    assert commits.understood_bytes == 800


def test_an_answer_that_failed_understands_nothing() -> None:
    commits = Commits()
    commits.make(800)
    commits.take(BEGUN)
    commits.take(ResponseFinished("resp_1", "failed", "server_error"))

    assert open_turns(commits) == [Commit(1, 800)]


def test_a_transcript_that_comes_behind_the_answer_is_not_that_of_the_next_turn() -> None:
    commits = Commits()
    commits.make(800)
    commits.take(BEGUN)
    commits.take(ANSWERED)
    commits.make(1600)
    commits.take(WRITTEN)

    assert open_turns(commits) == [Commit(2, 1600)]


def test_in_another_session_the_first_transcript_is_that_of_the_first_open_turn() -> None:
    commits = Commits()
    commits.make(800)
    commits.make(1600)
    commits.take(BEGUN)
    commits.move()
    commits.take(WRITTEN)
    commits.take(ANSWERED)

    assert open_turns(commits) == [Commit(2, 1600)]


FACTS = [WRITTEN, BEGUN, ANSWERED, CallerTranscript("item_2", "")]


@given(st.lists(st.one_of(st.sampled_from(FACTS), st.just("make"), st.just("move"))))
def test_turns_are_bounded_in_order_and_never_understood_backwards(
    events: list[SessionFact | str],
) -> None:
    commits, understood = Commits(), 0
    for number, event in enumerate(events, start=1):
        match event:
            case "make":
                commits.make(100 * number)
            case "move":
                commits.move()
            case str():
                pass
            case fact:
                commits.take(fact)
        turns = open_turns(commits)
        assert len(turns) <= OPEN_MAX
        assert turns == sorted(turns, key=lambda turn: turn.number)
        assert all(turn.end_bytes > commits.understood_bytes for turn in turns)
        assert commits.understood_bytes >= understood
        understood = commits.understood_bytes
