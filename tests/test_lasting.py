"""A call outlives its sessions: whole calls in virtual time, whose sessions expire or are killed.

Rules: a session is killed at the model's end, behind one of its own frames, so that every moment
of a conversation is one at which it is lost; what a caller hears is read from what their phone
played; and the model refuses whatever the real one refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import pytest
import trio

from actors.exits import CallerHungUp, PeerLost, Refused
from actors.policy.manners import Manners
from gateway.configuration.agents import AgentSettings
from gateway.lab.judges.tagged_voice import Tagged, read
from gateway.lab.rehearsing.scenario import parse
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.twilio.line_facts import Said
from gateway.lab.world import World
from gateway.session.lasting import DEFAULT_BOUNDS, Bounds
from tests.killed_sessions import (
    FILLER,
    GREETING,
    Killed,
    Voice,
    long_call,
    one_call,
    stretches,
    summary,
)
from tests.worlds import play

UNDISTURBED = one_call(None)
FRAMES = range(2, UNDISTURBED.after + 1)
"""All that the model says, but its first: before that there is no session to lose."""
EVERY = 3
"""Of them, how many are tried here. The scorecard tries all of them."""


@pytest.fixture(scope="module")
def killed() -> list[Killed]:
    """The same call once for every frame of the model's, and its session killed behind it."""
    return [one_call(after) for after in FRAMES[::EVERY]]


def moments(one: World, what: str) -> list[str]:
    return [moment.detail for moment in one.record.moments if moment.what == what]


def said(items: list[dict[str, Any]]) -> list[str]:
    """The words of a conversation's items, whoever said them."""
    return [
        str(part.get("text") or part.get("transcript") or "")
        for item in items
        for part in item.get("content", ())
    ]


def test_whenever_a_session_dies_the_caller_is_soon_spoken_to(killed: list[Killed]) -> None:
    words, passed = summary(killed)

    assert passed, words


def test_whenever_a_session_dies_the_call_goes_on_to_its_end(killed: list[Killed]) -> None:
    endings = {one.after: one.ending for one in killed}

    assert {after: why for after, why in endings.items() if why != CallerHungUp()} == {}


def test_whenever_a_session_dies_no_tool_runs_twice(killed: list[Killed]) -> None:
    assert {one.after: one.runs for one in killed if max(one.runs.values(), default=0) > 1} == {}


def test_whenever_a_session_dies_the_greeting_is_not_repeated(killed: list[Killed]) -> None:
    greetings = {one.after: [h.text for h in one.heard].count(GREETING) for one in killed}

    assert {after: times for after, times in greetings.items() if times > 1} == {}


def test_whenever_a_session_dies_the_next_one_refuses_nothing(killed: list[Killed]) -> None:
    refused = {one.after: (one.errors, one.violations) for one in killed}

    assert {after: found for after, found in refused.items() if found != ((), ())} == {}


def test_a_tool_that_runs_while_its_session_dies_answers_the_next_one() -> None:
    calls = [one for one in map(one_call, (54, 56, 58)) if one.runs]

    assert calls
    for one in calls:
        outputs = [
            item["call_id"]
            for item in one.world.models[-1].conversation.items()
            if item["type"] == "function_call_output"
        ]
        assert len(outputs) == 1, one.after


def test_the_next_session_is_told_what_was_said_and_done() -> None:
    one = one_call(UNDISTURBED.after - 2).world

    items = one.models[1].conversation.items()
    kinds = [item["type"] for item in items]
    words = said(items)

    assert GREETING in words
    assert "Where is my order?" in words
    assert "Your order is on its way to you." in words
    assert kinds.index("function_call_output") == kinds.index("function_call") + 1
    assert moments(one, "SessionLost") == ["broken"]
    assert moments(one, "SessionMoved")[0].startswith("lost ")


def test_a_filler_is_said_when_the_next_session_takes_its_time() -> None:
    """Its first connection takes more than the caller wants to wait in silence."""
    one = one_call(26, dead=frozenset({2, 3}))

    texts = [heard.text for heard in one.heard]
    waited_s = one.wait_s(filler=True)

    assert FILLER in texts
    assert waited_s is not None
    assert waited_s < 1.0
    assert one.ending == CallerHungUp()


def test_nobody_is_told_to_wait_who_has_nothing_to_wait_for() -> None:
    """The session dies while nobody owes anybody anything, and is long in coming back."""
    one = one_call(22, dead=frozenset({2, 3, 4}))

    assert FILLER not in [heard.text for heard in one.heard]


def test_a_session_that_keeps_dying_ends_the_call_within_its_bound() -> None:
    one = one_call(30, dead=frozenset(range(2, 100)))

    assert isinstance(one.ending, PeerLost)
    assert one.ending.peer == "session"
    lasted_s = one.world.record.duration_ms / 1000 - one.died_s
    assert lasted_s < DEFAULT_BOUNDS.recover_s + 0.5


def test_sessions_may_be_lost_so_often_and_no_more() -> None:
    one = one_call(10, Bounds(restarts=3), dies_always=True)

    assert isinstance(one.ending, PeerLost)
    assert moments(one.world, "SessionLost") == ["broken"] * 3
    assert one.world.connections == 4


def test_a_session_that_falls_silent_is_replaced() -> None:
    """It owes an answer, and its socket stays open."""
    one = one_call(30, Bounds(silent_s=3.0), falls_silent=True)

    assert moments(one.world, "SessionLost") == ["silent"]
    assert one.ending == CallerHungUp()


def test_a_fallback_answers_when_the_first_model_cannot_be_reached() -> None:
    agent = AgentSettings(fallback_model="gpt-realtime-2.1-mini", filler=FILLER)
    one = one_call(None, dead=frozenset({1, 2}), agent=agent)

    assert one.world.opened == ["first", "fallback"]
    assert one.ending == CallerHungUp()
    assert moments(one.world, "SessionMoved")[0].startswith("fallback ")
    assert GREETING in [heard.text for heard in one.heard]


def test_without_a_fallback_a_model_that_cannot_be_reached_ends_the_call() -> None:
    one = one_call(None, dead=frozenset({1, 2}))

    assert isinstance(one.ending, PeerLost | Refused)
    assert one.world.opened == ["first"]


@cache
def long_talk() -> tuple[World, Voice]:
    """A call of three sessions, one after the other."""
    return long_call(session_s=60.0, every_ms=15_000, turns=9)


def test_a_call_goes_on_beyond_the_end_of_its_sessions_and_nothing_is_forgotten() -> None:
    one, voice = long_talk()

    moved = moments(one, "SessionMoved")
    heard = [stretch.text for stretch in stretches(one, voice)]
    told = said(one.models[-1].conversation.items())

    assert len(moved) >= 2
    assert all(cause.startswith("expiring ") for cause in moved)
    assert moments(one, "SessionLost") == []
    assert heard == [f"Answer {n}." for n in range(10)]
    # The last of all it heard itself.
    assert [text for text in told if text.startswith("Question")] == [
        f"Question {n}." for n in range(1, 9)
    ]
    assert [text for text in told if text.startswith("Answer")] == [
        f"Answer {n}." for n in range(10)
    ]
    assert [model.errors for model in one.models] == [[]] * len(one.models)
    assert one.line.heard()[0].ulaw  # And no gap: every answer is one stretch.
    assert Counter(heard).most_common(1)[0][1] == 1


def test_answers_come_as_fast_beside_a_change_of_sessions() -> None:
    """The caller notices nothing: they wait as long for every answer."""
    one, _ = long_talk()

    waited = [turn.first_heard_ms for turn in one.record.turns if turn.first_heard_ms is not None]

    assert len(waited) == 9
    assert max(waited) - min(waited) <= 300


def test_a_session_that_is_never_quiet_is_replaced_before_it_ends() -> None:
    """The caller speaks through the whole of the time in which it could be replaced."""
    scenario = parse(
        'name: talker\nmodel: {session_s: 20, answers: [{items: [{say: "Hello."}]}]}\n'
        f'caller: [{{wait: agent_quiet, say: "{"And on and on. " * 22}"}},'
        " {wait: agent_quiet, quiet_ms: 1000, hang_up: true}]"
    )
    one = World(scenario, Voice(), bounds=Bounds())

    assert run_seeded(one.run, seed=1) == CallerHungUp()
    assert moments(one, "SessionLost") == ["expiring"]
    assert [model.errors for model in one.models] == [[]] * len(one.models)
    assert len(one.record.turns) == 1


async def test_a_session_that_lasts_ends_when_it_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one = World(parse("name: nobody"), Voice(), bounds=Bounds())

    async def hang_up() -> None:
        await trio.sleep(1)
        one.line.hang_up(1000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hang_up)
        with trio.move_on_after(30):
            await one.run()
        nursery.cancel_scope.cancel()

    assert one.open_sockets == 0


FAILS = """
name: fails
model:
  answers:
    - items: [{{say: "Hello."}}]
{failures}
    - items: [{{say: "Until six."}}]
caller:
  - {{wait: agent_quiet, say: "When do you close?"}}
  - {{wait: agent_quiet, quiet_ms: 6000, hang_up: true}}
"""


def failing(times: int, agent: AgentSettings | None = None) -> World:
    """A call whose model fails at so many responses, over all its sessions."""
    failures = "\n".join(["    - {fail: {code: server_error}, after_ms: 50}"] * times)
    scenario = parse(FAILS.format(failures=failures))
    return World(scenario, Voice(), bounds=Bounds(), agent=agent or AgentSettings())


def whole_lines(one: World) -> list[str]:
    """The caller's lines of which the last session's turns have all but a tenth of a second."""
    conversation, voice = one.models[-1].conversation, voice_of(one)
    heard_ms: Counter[int] = Counter()
    for item in conversation.items():
        entry = conversation.find(item["id"])
        if entry is not None and item.get("role") == "user":
            for run in read(entry.audio):
                if isinstance(run, Tagged):
                    heard_ms[run.line] += run.to_ms - run.from_ms
    said_of_it = (fact for fact in one.line.facts if isinstance(fact, Said))
    lasts_ms = {fact.text: fact.ended_ms - fact.at_ms for fact in said_of_it}
    return [
        voice.lines[line]
        for line, ms in sorted(heard_ms.items())
        if ms >= lasts_ms[voice.lines[line]] - 100
    ]


def test_a_session_that_fails_at_responses_is_asked_once_more_and_then_replaced() -> None:
    one = failing(2)

    assert run_seeded(one.run, seed=1) == CallerHungUp()
    assert moments(one, "SessionLost") == ["server_error"]
    assert len(one.models) == 2
    assert [stretch.text for stretch in stretches(one, voice_of(one))][-1] == "Until six."


def test_after_two_sessions_that_fail_the_fallback_is_asked_first() -> None:
    one = failing(3, AgentSettings(fallback_model="gpt-realtime-1.5"))

    assert run_seeded(one.run, seed=1) == CallerHungUp()
    assert moments(one, "SessionLost") == ["server_error"] * 2
    assert one.opened == ["first", "first", "fallback"]


def test_a_model_that_fails_in_every_session_ends_the_call_within_its_bound() -> None:
    one = failing(20)

    why = run_seeded(one.run, seed=1)

    assert isinstance(why, PeerLost | Refused)
    assert moments(one, "SessionLost") == ["server_error"] * DEFAULT_BOUNDS.restarts
    assert one.record.duration_ms < 20_000


BEGINNING = "This is a rather long story, and it has a beginning."
END = "And it has an end."
KEYED = f"""
name: keyed
model:
  answers:
    - items: [{{say: "Speak, then press the hash key."}}]
    - items: [{{say: "Thank you."}}]
caller:
  - {{wait: agent_quiet, say: "{BEGINNING}"}}
  - {{wait_ms: 3000, say: "{END}"}}
  - {{wait_ms: 1000, press: "#"}}
  - {{wait: agent_quiet, quiet_ms: 4000, hang_up: true}}
"""


def keyed(loses: Callable[[World], Awaitable[None]]) -> World:
    """A call whose turns end with the hash key, and in which somebody does something."""
    agent = AgentSettings(turn_detection="none")
    one = World(
        parse(KEYED), Voice(), bounds=Bounds(), agent=agent, manners=Manners(hash_ends_turn=True)
    )

    async def main() -> object:
        return await play(one, loses)

    assert run_seeded(main, seed=1) == CallerHungUp()
    return one


ASKS = """
name: asks
model:
  answers:
    - items: [{say: "Hello."}]
    - items: [{say: "Until six."}]
caller:
  - {wait: agent_quiet}
  - {wait_ms: 4500, say: "When do you close, if I may ask?"}
  - {wait: agent_quiet, quiet_ms: 6000, hang_up: true}
"""


def test_what_was_said_to_a_line_that_swallows_everything_is_heard_by_the_next_session() -> None:
    """Nobody notices before a ping is not answered, and the caller speaks meanwhile."""
    one = World(parse(ASKS), Voice(), bounds=Bounds())

    async def swallow(one: World) -> None:
        await trio.sleep(4)
        one.mortals[0].swallows = True

    async def main() -> object:
        return await play(one, swallow)

    assert run_seeded(main, seed=1) == CallerHungUp()
    assert len(moments(one, "SessionLost")) == 1
    assert whole_lines(one) == ["When do you close, if I may ask?"]
    assert "Until six." in [stretch.text for stretch in stretches(one, voice_of(one))]


async def break_the_model(one: World) -> None:
    assert one.model_end is not None
    one.model_end.abort()
    await trio.lowlevel.checkpoint()


def voice_of(one: World) -> Voice:
    assert isinstance(one.voice, Voice)
    return one.voice


async def until_committed(one: World) -> None:
    """Wait until the model was told of the end of a turn."""
    while not any(  # noqa: ASYNC110
        event["type"] == "input_audio_buffer.commit" for event in one.models[0].received
    ):
        await trio.sleep(0.01)


async def until_said(one: World, lines: int) -> None:
    """Wait until the caller has said so many of their lines."""
    while sum(isinstance(fact, Said) for fact in one.line.facts) < lines:  # noqa: ASYNC110
        await trio.sleep(0.05)


def test_where_turns_end_with_a_key_the_next_session_hears_all_of_the_turn() -> None:
    """Its beginning is seconds ago, and silence has followed."""

    async def in_the_pause(one: World) -> None:
        await until_said(one, 1)
        await trio.sleep(2.0)
        await break_the_model(one)

    one = keyed(in_the_pause)

    assert moments(one, "SessionLost") == ["broken"]
    assert whole_lines(one) == [BEGINNING, END]
    assert [model.errors for model in one.models] == [[], []]
    assert "Thank you." in [stretch.text for stretch in stretches(one, voice_of(one))]


def test_a_turn_that_was_ended_by_key_and_not_understood_is_ended_again() -> None:
    """The session dies just behind the key, and just before it, while nobody is there."""

    async def at_the_key(one: World) -> None:
        await until_committed(one)
        await break_the_model(one)

    async def before_the_key(one: World) -> None:
        one.dead |= {2}
        await until_said(one, 2)
        await trio.sleep(0.9)
        await break_the_model(one)

    for loses in (at_the_key, before_the_key):
        one = keyed(loses)

        commits = [event["type"] for event in one.models[-1].received]
        assert commits.count("input_audio_buffer.commit") == 1
        assert whole_lines(one) == [BEGINNING, END]
        assert [model.errors for model in one.models] == [[], []]
        assert "Thank you." in [stretch.text for stretch in stretches(one, voice_of(one))]
