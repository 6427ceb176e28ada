"""Nobody says anything: the agent asks, says goodbye, and the call ends."""

from __future__ import annotations

import trio

from actors.exits import AgentHungUp, CallerHungUp
from actors.messages import SessionLive, SpeechStarted
from actors.policy.manners import Manners
from actors.toolbox import Toolbox
from gateway.lab.world import World
from tests.test_call_keys import purposes, texts
from tests.worlds import Scripted, play, world

AFTER_10_S = Manners(max_silence_s=10, tells_keys=True)

SILENT = """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{say: "Are you still there?"}]
    - items: [{say: "Goodbye then."}]
caller: [{wait: call_end}]
"""


def started_ms(one: World, purpose: str) -> int:
    (at_ms,) = [
        response.started_ms for response in one.record.responses if response.purpose == purpose
    ]
    assert at_ms is not None
    return at_ms


def idle_ms(one: World, number: int) -> int:
    """When this utterance of the agent's had been heard."""
    said = [said for said in one.record.transcript if said.who == "agent"][number]
    assert said.ended_ms is not None
    return said.ended_ms


async def test_the_agent_asks_and_then_says_goodbye_and_the_call_ends_behind_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(SILENT, manners=AFTER_10_S)
    why = await play(one)

    assert why == AgentHungUp("silence", goodbye_heard=True)
    assert purposes(one) == ["greeting", "silence", "goodbye"]
    assert [role for role, _ in texts(one)] == ["system", "system"]
    assert [said.unheard for said in one.record.transcript] == ["", "", ""]
    assert abs(started_ms(one, "silence") - idle_ms(one, 0) - 10_000) < 500
    assert abs(started_ms(one, "goodbye") - idle_ms(one, 1) - 10_000) < 500
    assert one.record.duration_ms - idle_ms(one, 2) < 500
    assert one.record.refused_orders == {}
    assert one.record.tool_calls == ()


async def test_a_caller_who_answers_is_there_and_is_asked_again_only_after_as_much_silence(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{say: "Are you still there?"}]
    - items: [{say: "Good."}]
    - items: [{say: "And now?"}]
    - items: [{say: "Goodbye then."}]
caller:
  - {wait_ms: 14000, say: "Yes, yes, I am."}
  - {wait: call_end}
""",
        manners=AFTER_10_S,
    )
    why = await play(one)

    assert why == AgentHungUp("silence", goodbye_heard=True)
    assert purposes(one) == ["greeting", "silence", None, "silence", "goodbye"]


async def test_a_caller_who_speaks_over_the_goodbye_stays(autojump_clock: trio.abc.Clock) -> None:
    goodbye = '"Goodbye then, and thank you for the call, it was very quiet."'
    one = world(
        SILENT.replace('"Goodbye then."', goodbye).replace(
            "caller: [{wait: call_end}]",
            """
    - items: [{say: "Ah."}]
caller:
  - {wait: agent_speaking}
  - {wait: agent_quiet}
  - {wait: agent_speaking}
  - {wait: agent_quiet}
  - {wait: agent_speaking, after_ms: 800, say: "Wait, wait."}
  - {wait: agent_quiet, quiet_ms: 2000, hang_up: true}
""",
        ),
        manners=AFTER_10_S,
    )
    why = await play(one)

    assert why == CallerHungUp()
    assert purposes(one) == ["greeting", "silence", "goodbye", None]


async def test_keys_and_a_working_tool_are_not_silence(autojump_clock: trio.abc.Clock) -> None:
    box = Toolbox()

    @box.add
    async def think() -> str:
        """Takes its time."""
        await trio.sleep(7.9)
        return "thought"

    one = world(
        """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{call: {name: think, arguments: {}}}]
    - items: [{say: "There."}]
caller:
  - {wait_ms: 8000, press: "1"}
  - {wait_ms: 8000, press: "2"}
  - {wait_ms: 6000, hang_up: true}
""",
        manners=Manners(max_silence_s=9),
        toolbox=box,
    )
    why = await play(one)

    assert why == CallerHungUp()
    assert purposes(one) == ["greeting"]


async def test_hold_music_is_no_silence_but_not_for_ever_either(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Ten times as long: below what the session takes for speech, and above a caller on mute."""
    music = "caller: [{noise: {ms: 100000, dbfs: -40}}, {wait: call_end}]"
    yaml = SILENT.replace("caller: [{wait: call_end}]", music)
    one = world(yaml, manners=Manners(max_silence_s=3))
    why = await play(one)

    assert why == AgentHungUp("silence", goodbye_heard=True)
    assert 29_000 < started_ms(one, "silence") - idle_ms(one, 0) < 31_000


async def test_speech_that_is_never_said_to_stop_ends_too(autojump_clock: trio.abc.Clock) -> None:
    """Then nobody can say anything, and the call ends without a goodbye."""
    session = Scripted(SessionLive("sess_1"), SpeechStarted("item_1", 0))
    one = world(SILENT, manners=Manners(max_silence_s=3), greet=False)
    one.session = session  # type: ignore[assignment]
    why = await play(one)

    assert why == AgentHungUp("silence", goodbye_heard=False)
    assert 43_000 < one.record.duration_ms < 44_000
