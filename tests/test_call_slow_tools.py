"""A slow tool in whole calls: the caller is told once, and hears the result as ever."""

from __future__ import annotations

import trio

from actors.control import CallControl
from actors.errors import Unspoken
from actors.policy.manners import Manners
from actors.toolbox import Toolbox
from gateway.lab.memory_voice import MemoryVoice
from gateway.lab.world import World
from tests.test_call_tools import outputs, purposes
from tests.test_call_voice import agent_said, scenario
from tests.worlds import play, tone, world

FILLER = "One moment."
MANNERS = Manners(tool_filler=FILLER, tool_filler_after_s=1.5)
LENGTH_S = len(tone(FILLER)) / 8000
CALL = "{name: look_up, arguments: {}}"


def box(takes_s: float) -> Toolbox:
    toolbox = Toolbox()

    @toolbox.add
    async def look_up() -> str:
        """Take a while."""
        await trio.sleep(takes_s)
        return "found"

    return toolbox


def slow_world(takes_s: float, *caller: str, say: str = "") -> World:
    return world(scenario(*caller, call=CALL, say=say), toolbox=box(takes_s), manners=MANNERS)


async def test_a_slow_tool_is_covered_once_and_its_result_used(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = slow_world(7.0)
    await play(one)

    assert agent_said(one) == ["Hello there.", FILLER, "There you are."]
    assert outputs(one) == {"look_up": ["found"]}
    assert purposes(one) == ["greeting", "tools"]
    (run,) = one.record.tool_calls
    filler = one.record.transcript[2]
    assert run.started_ms is not None
    assert filler.began_ms is not None
    # Behind it, the way to the phone: 80 ms and what the ledger takes to send a frame.
    assert 1_500 <= filler.began_ms - run.started_ms <= 1_700


async def test_a_quick_tool_needs_no_filler(autojump_clock: trio.abc.Clock) -> None:
    one = slow_world(1.4)
    await play(one)

    assert agent_said(one) == ["Hello there.", "There you are."]


async def test_a_result_that_comes_while_the_filler_plays_is_spoken_about_behind_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = slow_world(1.6)
    await play(one)

    assert agent_said(one) == ["Hello there.", FILLER, "There you are."]
    filler, answer = one.record.transcript[2:4]
    assert filler.ended_ms is not None
    assert answer.began_ms is not None
    assert filler.ended_ms - 1 <= answer.began_ms


async def test_the_silence_counts_from_the_end_of_what_the_agent_says(
    autojump_clock: trio.abc.Clock,
) -> None:
    """It has said by itself that it is going to look."""
    words = "Let me have a look at that, I am going to open the book."
    one = slow_world(7.9, say=words)
    await play(one)

    assert agent_said(one)[1:3] == [words, FILLER]
    said, filler = [said for said in one.record.transcript if said.who == "agent"][1:3]
    assert said.ended_ms is not None
    assert filler.began_ms is not None
    assert filler.began_ms - said.ended_ms >= 1_400


async def test_a_caller_who_speaks_over_the_filler_cuts_it(autojump_clock: trio.abc.Clock) -> None:
    one = slow_world(7.0, '{wait: agent_speaking, after_ms: 200, say: "Are you there?"}')
    await play(one)

    assert FILLER not in agent_said(one)
    assert len(one.record.barge_ins) == 1
    assert one.model.errors == []
    assert outputs(one) == {"look_up": ["found"]}


async def test_a_tool_that_asks_the_caller_is_not_slow(autojump_clock: trio.abc.Clock) -> None:
    """Nor one that waits for their keys. When it works on what it was told, it is."""
    toolbox = Toolbox()

    @toolbox.add
    async def look_up(call: CallControl) -> str:
        """Ask, and take a while."""
        await call.confirm("Shall I?", within_s=5.0)
        await call.collect_digits(most=1, first_s=5.0)
        await trio.sleep(5.0)
        return "found"

    one = world(scenario(call=CALL), toolbox=toolbox, manners=MANNERS)
    await play(one)

    assert agent_said(one) == ["Hello there.", "Shall I?", FILLER, "There you are."]
    question, filler = [said for said in one.record.transcript if said.who == "agent"][1:3]
    assert question.ended_ms is not None
    assert filler.began_ms is not None
    assert filler.began_ms - question.ended_ms >= 11_400


async def test_without_audio_for_it_nothing_is_said(autojump_clock: trio.abc.Clock) -> None:
    class Mute(MemoryVoice):
        """Stands for a voice that cannot be had."""

        async def speech(self, words: str) -> bytes:
            await trio.sleep(1)
            raise Unspoken(f"not {words}")

    one = world(scenario(call=CALL), toolbox=box(5.0), manners=MANNERS, speaks=Mute(tone))
    await play(one)

    assert agent_said(one) == ["Hello there.", "There you are."]
