"""How a call lands that has to end, and that a greeting can be heard out."""

from __future__ import annotations

import pytest
import trio

from actors.call import Limits
from actors.exits import AgentHungUp, CallerHungUp, TimedOut
from actors.messages import ResponseFinished, ResponseStarted, SessionLive, Usage
from actors.policy.cost import PRICES_AS_OF, cost_usd
from actors.policy.manners import Manners
from tests.test_call_keys import purposes, texts
from tests.worlds import GOODBYE, Scripted, play, world

LONG_TALK = """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{say: "We have to come to an end, goodbye."}]
caller: [{wait: call_end}]
"""


async def test_before_its_longest_length_the_agent_is_told_and_speaks_of_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(LONG_TALK, manners=Manners(wrap_up_s=20), limits=Limits(call_s=60))
    why = await play(one)

    assert why == TimedOut(60)
    ((role, text),) = texts(one)
    assert role == "system"
    assert "within 20 seconds" in text
    (_, response) = one.record.responses
    assert response.purpose == "wrap_up"
    assert response.started_ms is not None
    assert 40_000 < response.started_ms < 40_500


async def test_the_agent_is_told_how_much_time_there_really_is(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A call shorter than its landing is told at half of it, and then has that half."""
    one = world(LONG_TALK, manners=Manners(wrap_up_s=30), limits=Limits(call_s=20))
    await play(one)

    ((_, text),) = texts(one)
    assert "within 10 seconds" in text


async def test_an_agent_that_hangs_up_by_itself_then_has_hung_up(
    autojump_clock: trio.abc.Clock,
) -> None:
    hangup = '{say: "We have to end, goodbye."}, {call: {name: hangup, arguments: {reason: late}}}'
    yaml = LONG_TALK.replace('{say: "We have to come to an end, goodbye."}', hangup)
    one = world(yaml, manners=Manners(wrap_up_s=20), limits=Limits(call_s=60))

    assert await play(one) == AgentHungUp("late", goodbye_heard=True)
    assert one.record.duration_ms < 44_000


async def test_whoever_speaks_then_is_answered_knowing_it_and_not_twice(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        LONG_TALK.replace(
            "{wait: call_end}", '{wait_ms: 39800, say: "One more."}, {wait_ms: 90000}'
        ),
        manners=Manners(wrap_up_s=20),
        limits=Limits(call_s=60),
    )
    await play(one)

    assert purposes(one) == ["greeting", None]


async def test_a_call_that_has_cost_enough_is_told_and_ends(
    autojump_clock: trio.abc.Clock,
) -> None:
    """By its own clock, whatever the agent makes of it."""
    usage = Usage(input_audio_tokens=10_000, output_audio_tokens=10_000)
    one = world(LONG_TALK, manners=Manners(wrap_up_s=5, max_cost_usd=0.9), greet=False)
    one.session = Scripted(  # type: ignore[assignment]
        SessionLive("sess_1"),
        ResponseStarted("resp_1"),
        ResponseFinished("resp_1", "completed", usage=usage),
    )
    why = await play(one)

    assert isinstance(why, TimedOut)
    assert why.cause == "cost"
    assert one.record.duration_ms == pytest.approx(5_340, abs=50)
    assert one.record.cost_usd == pytest.approx(0.96)
    assert one.record.prices_as_of == PRICES_AS_OF


async def test_a_call_below_its_limits_is_not_disturbed_and_says_what_it_cost(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(GOODBYE, manners=Manners(wrap_up_s=30, max_cost_usd=5))
    await play(one)

    assert purposes(one) == ["greeting", None]
    assert one.record.cost_usd == cost_usd(one.model.model, one.record.usage)
    assert one.record.cost_usd is not None


TALKED_OVER = """
model:
  answers:
    - items: [{say: "This call may be recorded for purposes of quality."}]
    - items: [{say: "Yes?"}]
caller:
  - {wait: agent_speaking, after_ms: 300, say: "Hello?"}
  - {wait: agent_quiet, quiet_ms: 1000, say: "I have a question."}
  - {wait: agent_quiet, quiet_ms: 2000, hang_up: true}
"""


async def test_a_greeting_that_is_to_be_heard_is_heard_and_then_the_caller_is(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(TALKED_OVER, manners=Manners(greeting_interruptible=False))
    why = await play(one)

    assert why == CallerHungUp()
    assert one.record.barge_ins == ()
    assert [said.unheard for said in one.record.transcript if said.who == "agent"] == ["", ""]
    assert purposes(one) == ["greeting", None]
    unheard = one.record.drops["caller_bytes_unheard"]
    assert 0 < unheard < one.record.audio.appended_bytes
    assert one.record.turns[0].first_audio_ms is not None


async def test_any_other_greeting_is_interrupted(autojump_clock: trio.abc.Clock) -> None:
    one = world(TALKED_OVER)
    await play(one)

    assert len(one.record.barge_ins) == 1
    assert one.record.drops["caller_bytes_unheard"] == 0


async def test_a_greeting_that_fails_does_not_keep_the_caller_unheard(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        """
model:
  answers:
    - fail: {code: server_error}
    - items: [{say: "Hello there."}]
    - items: [{say: "Yes?"}]
caller:
  - {wait: agent_quiet, quiet_ms: 1000, say: "I have a question."}
  - {wait: agent_quiet, quiet_ms: 2000, hang_up: true}
""",
        manners=Manners(greeting_interruptible=False),
    )
    await play(one)

    assert purposes(one) == ["greeting", "retry", None]
