"""When a caller has waited for a tool in silence for long enough to be told so."""

from __future__ import annotations

import pytest

from actors.messages import (
    HANGUP,
    FloorGiven,
    FloorTaken,
    PlayoutIdle,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    SessionLive,
    SessionLost,
    SpeechStarted,
    SpeechStopped,
    StreamLeft,
    StreamMoved,
    ToolCall,
    ToolFinished,
    ToolsAsked,
    ToolStarted,
    ToolWaits,
    ToolWentOn,
)
from actors.policy.slow_tools import SlowToolFact, SlowTools

AFTER_MS = 1_500.0
BEGAN_MS = 1_000.0


def asks(*tool_call_ids: str, response_id: str = "r1") -> ResponseFinished:
    calls = tuple(ToolCall(one, "look_up", "{}") for one in tool_call_ids)
    return ResponseFinished(response_id, "completed", tool_calls=calls)


def running(*tool_call_ids: str) -> SlowTools:
    """Tools that began to run at `BEGAN_MS`, and nobody has said anything."""
    slow = SlowTools(AFTER_MS)
    slow.note(SessionLive("s1"), now_ms=0)
    slow.note(asks(*tool_call_ids), now_ms=BEGAN_MS)
    for one in tool_call_ids:
        slow.note(ToolStarted(one, "look_up"), now_ms=BEGAN_MS)
    return slow


def ended(tool_call_id: str) -> ToolFinished:
    return ToolFinished(tool_call_id, "look_up", "returned", "{}")


def test_a_tool_is_slow_after_its_time_and_not_before() -> None:
    slow = running("c1")
    assert slow.due_ms() == BEGAN_MS + AFTER_MS
    assert not slow.is_due(now_ms=BEGAN_MS + AFTER_MS - 1)

    assert slow.is_due(now_ms=BEGAN_MS + AFTER_MS)


def test_it_is_said_once_for_all_tools_of_a_response() -> None:
    slow = running("c1", "c2")
    assert slow.is_due(now_ms=BEGAN_MS + AFTER_MS)
    slow.note(ended("c1"), now_ms=5_000)

    assert slow.due_ms() is None
    assert not slow.is_due(now_ms=60_000)


def test_it_is_said_again_for_the_tools_of_the_next_response() -> None:
    slow = running("c1")
    slow.is_due(now_ms=BEGAN_MS + AFTER_MS)
    slow.note(ended("c1"), now_ms=5_000)
    slow.note(asks("c2", response_id="r2"), now_ms=6_000)
    slow.note(ToolStarted("c2", "look_up"), now_ms=6_000)

    assert slow.due_ms() == 6_000 + AFTER_MS


def test_a_tool_of_an_engine_without_responses_may_be_slow_too() -> None:
    slow = SlowTools(AFTER_MS)
    slow.note(SessionLive("s1"), now_ms=0)
    slow.note(ToolsAsked((ToolCall("c1", "look_up", "{}"),)), now_ms=BEGAN_MS)
    slow.note(ToolStarted("c1", "look_up"), now_ms=BEGAN_MS)

    assert slow.due_ms() == BEGAN_MS + AFTER_MS


def test_a_tool_that_ends_in_time_needs_no_words() -> None:
    slow = running("c1")
    slow.note(ended("c1"), now_ms=BEGAN_MS + 1)

    assert slow.due_ms() is None


def test_a_hang_up_that_waits_for_its_goodbye_is_not_slow() -> None:
    slow = SlowTools(AFTER_MS)
    slow.note(SessionLive("s1"), now_ms=0)
    slow.note(ToolStarted("c1", HANGUP), now_ms=BEGAN_MS)

    assert slow.due_ms() is None


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (PlayoutStarted("i1", "r1"), PlayoutIdle(by_mark=True)),
        (ResponseStarted("r2"), ResponseFinished("r2", "completed")),
        (SpeechStarted("u1", 0), SpeechStopped("u1", 100)),
        (FloorTaken(), FloorGiven()),
        (ToolWaits("c1"), ToolWentOn("c1")),
        (StreamLeft(), StreamMoved("MZ2")),
        (SessionLost("1006"), SessionLive("s2")),
    ],
)
def test_nothing_is_said_while_somebody_does_something_and_the_silence_counts_from_its_end(
    begins: SlowToolFact, ends: SlowToolFact
) -> None:
    slow = running("c1")
    slow.note(begins, now_ms=BEGAN_MS + 100)
    assert slow.due_ms() is None
    assert not slow.is_due(now_ms=60_000)

    slow.note(ends, now_ms=BEGAN_MS + 4_000)
    assert slow.due_ms() == BEGAN_MS + 4_000 + AFTER_MS
