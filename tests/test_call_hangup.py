"""The agent hangs up: after the goodbye, in bounded time, unless the caller still has a word."""

from __future__ import annotations

import json

import trio

from actors.exits import AgentHungUp, CallerHungUp
from actors.hangup import CALLED_OFF, Hangup
from actors.lanes import Lane
from actors.messages import (
    CreateResponse,
    HangupAsked,
    ResponseFinished,
    ResponseStarted,
    ReturnToolOutput,
    SessionLive,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    TransferEnded,
)
from actors.notes import Notes
from actors.policy.journal import Journal
from actors.toolbox import Toolbox
from gateway.lab.twilio.line_facts import LineEnded
from gateway.lab.world import World
from tests.test_call_bargein import events
from tests.test_legs import FACTS
from tests.worlds import GOODBYE, Scripted, play, world


def hangup_outputs(one: World) -> list[bool]:
    return [
        json.loads(event["item"]["output"])["hung_up"]
        for event in events(one, "conversation.item.create")
    ]


async def test_a_hang_up_called_off_by_the_caller_is_not_blamed_on_an_earlier_transfer(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    one = Hangup(
        inbox=Lane("hangup", 10),
        session=Lane("to_session", 10),
        turns=Lane("turns", 10),
        notes=Notes(Journal(FACTS)),
    )
    nursery.start_soon(one.run)
    for fact in (
        TransferEnded("busy"),
        ResponseStarted("resp_2"),
        HangupAsked("call_2", "done", "resp_2"),
        SpeechStarted("item_2", 0),
    ):
        one.inbox.put(fact)
    await trio.sleep(0.1)

    (output,) = one.session.drain()
    assert output == ReturnToolOutput("call_2", CALLED_OFF)


async def test_the_line_drops_a_quarter_of_a_second_after_the_last_mark(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(GOODBYE)
    await play(one)

    last_mark_ms = max(mark.echoed_ms or 0.0 for mark in one.line.marks)
    (ended,) = [fact for fact in one.line.facts if isinstance(fact, LineEnded)]
    # The echo travels 40 ms, the grace is 250, the close travels 40.
    assert 325 <= ended.at_ms - last_mark_ms <= 335
    assert hangup_outputs(one) == [True]


async def test_a_hang_up_without_a_word_happens_at_once(autojump_clock: trio.abc.Clock) -> None:
    one = world(
        """
model:
  answers: [{items: [{call: {name: hangup, arguments: {reason: wrong number}}}]}]
caller: [{wait: call_end}]
"""
    )
    why = await play(one)

    assert why == AgentHungUp("wrong number", goodbye_heard=True)
    assert one.record.duration_ms < 1000


async def test_a_caller_who_speaks_over_the_goodbye_calls_the_hang_up_off(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The model learns of it as the output of its own call, and the call goes on."""
    one = world(
        """
model:
  answers:
    - items:
        - say: "Thank you very much for calling, it was a pleasure, and goodbye to you."
        - call: {name: hangup, arguments: {reason: done}}
    - items: [{say: "Yes, what is it?"}]
caller:
  - {wait: agent_speaking, after_ms: 1500, say: "One more thing."}
  - {wait: agent_quiet, quiet_ms: 3000, hang_up: true}
"""
    )
    why = await play(one)

    assert why == CallerHungUp()
    assert hangup_outputs(one) == [False]
    assert [run.outcome for run in one.record.tool_calls] == ["interrupted"]
    assert [said.text for said in one.record.transcript][-1] == "Yes, what is it?"


async def test_a_second_hang_up_while_the_first_waits_changes_nothing(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        """
model:
  answers:
    - items:
        - say: "Thank you for calling, goodbye."
        - call: {name: hangup, arguments: {reason: first}}
        - call: {name: hangup, arguments: {reason: second}}
caller: [{wait: call_end}]
"""
    )
    why = await play(one)

    assert why == AgentHungUp("first", goodbye_heard=True)
    assert sorted(hangup_outputs(one)) == [False, True]
    assert one.model.unanswered == []


async def test_a_hang_up_whose_arguments_are_no_json_still_hangs_up(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(GOODBYE.replace("{reason: done}", "'{\"reason'"))
    why = await play(one)

    assert why == AgentHungUp("", goodbye_heard=True)


async def test_marks_that_never_come_cost_a_bounded_wait(autojump_clock: trio.abc.Clock) -> None:
    """Two seconds after the clock says that all was played, and the ending says so."""
    one = world(GOODBYE)
    one.loses_marks = True
    why = await play(one)

    assert why == AgentHungUp("done", goodbye_heard=False)
    played_ms = one.line.playout.empty_at_ms()
    (ended,) = [fact for fact in one.line.facts if isinstance(fact, LineEnded)]
    assert ended.unplayed_bytes == 0
    assert 2000 < ended.at_ms - played_ms < 2600


async def test_an_agent_never_hangs_up_on_a_caller_who_is_speaking(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Its response crossed their first word on the wire, and was over before it was cancelled."""
    session = Scripted(
        SessionLive("s"),
        SpeechStarted("item_1", 0),
        ResponseStarted("resp_1", "greeting", 1),
        ResponseFinished(
            "resp_1", "completed", tool_calls=(ToolCall("c1", "hangup", "{}"),), number=1
        ),
    )
    one = world("caller: [{wait_ms: 3000, hang_up: true}]")
    one.session = session  # type: ignore[assignment]
    why = await play(one)

    assert why == CallerHungUp()
    (output,) = [order for order in session.orders if isinstance(order, ReturnToolOutput)]
    assert '"hung_up":false' in output.output


async def test_what_was_done_beside_a_goodbye_that_is_called_off_is_spoken_about(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The caller spoke while the tool ran, and was answered without its result."""
    toolbox = Toolbox()

    @toolbox.add
    async def save() -> str:
        """Takes its time."""
        await trio.sleep(1)
        return "saved"

    calls = (ToolCall("c1", "save", "{}"), ToolCall("c2", "hangup", "{}"))
    session = Scripted(
        SessionLive("s"),
        ResponseStarted("resp_1"),
        ResponseFinished("resp_1", "completed", tool_calls=calls),
        SpeechStarted("item_1", 0),
        SpeechStopped("item_1", 500),
        ResponseStarted("resp_2"),
        ResponseFinished("resp_2", "completed"),
    )
    one = world("caller: [{wait_ms: 5000, hang_up: true}]", toolbox=toolbox, greet=False)
    one.session = session  # type: ignore[assignment]
    why = await play(one)

    assert why == CallerHungUp()
    returned = [order for order in session.orders if isinstance(order, ReturnToolOutput)]
    assert [order.tool_call_id for order in returned] == ["c1", "c2"]
    assert session.orders[-1] == CreateResponse("tools")
