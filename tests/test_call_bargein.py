"""The caller speaks over the agent: what was heard, what the model is told, and how fast."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import pytest
import trio

from actors.exits import CallerHungUp
from actors.messages import (
    CancelResponse,
    Clear,
    CreateResponse,
    DeleteItem,
    ItemAudio,
    ResponseFinished,
    ResponseStarted,
    SessionLive,
    SpeechStarted,
    SpeechStopped,
)
from gateway.lab.twilio.line_facts import Cut, Said
from gateway.lab.world import Delays, World
from tests.worlds import Scripted, play, tone, world

INTERRUPTED = """
model:
  answers:
    - items: [{say: "A long greeting that nobody is going to hear to its very end, not today."}]
    - items: [{say: "Sorry. What is it?"}]
caller:
  - {wait: agent_speaking, after_ms: 1500, say: "Stop it."}
  - {wait: agent_quiet, hang_up: true}
"""

THREE_ITEMS = """
model:
  answers:
    - items:
        - say: "First item, short."
        - say: "Second item, somewhat longer than that."
        - say: "Third item that nobody hears at all."
      speed: 8
    - items: [{say: "Sorry. What is it?"}]
caller:
  - {wait: agent_speaking, after_ms: 1700, say: "Stop it."}
  - {wait: agent_quiet, hang_up: true}
"""


def events(one: World, kind: str) -> list[dict[str, Any]]:
    """What the model was sent of one kind."""
    return [event for event in one.model.received if event["type"] == kind]


async def test_the_model_is_told_what_the_caller_heard(autojump_clock: trio.abc.Clock) -> None:
    """To the frame, on a network whose delays do not vary."""
    one = world(INTERRUPTED)
    await play(one)

    (truncate,) = events(one, "conversation.item.truncate")
    (cut,) = [fact for fact in one.line.facts if isinstance(fact, Cut)]
    heard_before_cut_ms = sum(
        len(heard.ulaw) // 8 for heard in one.line.heard() if heard.at_ms < cut.at_ms
    )
    assert abs(truncate["audio_end_ms"] - heard_before_cut_ms) <= 20
    assert one.model.errors == []


async def test_clear_leaves_in_the_instant_in_which_speech_started_arrives(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Nothing waits: not for the round trip, not for the audio that is queued."""
    notes: list[tuple[int, object]] = []
    one = world(INTERRUPTED, observer=lambda at_ms, note: notes.append((at_ms, note)))
    await play(one)

    speech_ms = [at_ms for at_ms, note in notes if isinstance(note, SpeechStarted)]
    clear_ms = [at_ms for at_ms, note in notes if isinstance(note, Clear)]
    assert clear_ms == speech_ms[:1]


async def test_a_response_that_is_done_and_still_playing_is_cut_all_the_same(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Audio comes five times faster than it plays, so this is the usual case on a phone."""
    one = world(INTERRUPTED)
    await play(one)

    assert [response.status for response in one.record.responses] == ["completed", "completed"]
    assert len(events(one, "conversation.item.truncate")) == 1
    assert len([fact for fact in one.line.facts if isinstance(fact, Cut)]) == 1


async def test_a_response_still_being_made_is_cut_and_its_late_audio_is_never_played(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(INTERRUPTED.replace('not today."}]', 'not today."}]\n      speed: 1.2'))
    await play(one)

    assert [response.status for response in one.record.responses] == ["cancelled", "completed"]
    (truncate,) = events(one, "conversation.item.truncate")
    agent = [said for said in one.record.transcript if said.who == "agent"]
    assert agent[0].heard_ms == truncate["audio_end_ms"]
    assert one.line.heard_ms() == pytest.approx(sum(said.heard_ms or 0 for said in agent), abs=80)


async def test_items_nobody_heard_are_deleted_and_the_one_being_heard_is_truncated(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(THREE_ITEMS)
    await play(one)

    items = [said for said in one.record.transcript if said.who == "agent"][:3]
    assert [item.unheard != "" for item in items] == [False, True, True]
    (truncate,) = events(one, "conversation.item.truncate")
    (delete,) = events(one, "conversation.item.delete")
    assert truncate["item_id"] == items[1].item_id
    assert delete["item_id"] == items[2].item_id
    assert items[2].heard == ""
    assert one.model.errors == []


async def test_marks_that_come_back_because_of_clear_are_not_heard(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(INTERRUPTED)
    await play(one)

    assert any(mark.flushed for mark in one.line.marks)
    first = next(said for said in one.record.transcript if said.who == "agent")
    assert first.interrupted
    assert first.heard_ms is not None
    assert first.received_ms is not None
    assert first.heard_ms < 2300 < first.received_ms


async def test_the_greeting_is_asked_for_once_even_when_it_was_cut(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(INTERRUPTED)
    await play(one)

    purposes = [
        event["response"]["metadata"]["purpose"] for event in events(one, "response.create")
    ]
    assert purposes == ["greeting"]


async def test_speech_in_silence_is_an_ordinary_turn(autojump_clock: trio.abc.Clock) -> None:
    one = world(
        """
model:
  answers: [{items: [{say: "Hello there."}]}, {items: [{say: "I see."}]}]
caller:
  - {wait: agent_quiet, say: "Good morning."}
  - {wait: agent_quiet, hang_up: true}
"""
    )
    await play(one)

    assert events(one, "conversation.item.truncate") == []
    assert [fact for fact in one.line.facts if isinstance(fact, Cut)] == []
    assert one.record.barge_ins == ()


async def test_benign_errors_never_end_a_call(autojump_clock: trio.abc.Clock) -> None:
    codes = (
        "response_cancel_not_active",
        "conversation_already_has_active_response",
        "invalid_value",
        "item_truncate_invalid_item_id",
        "unsupported_content_type",
        "input_audio_buffer_commit_empty",
        "a_code_of_tomorrow",
    )
    faults = ", ".join(
        f"{{at: {{at_ms: {500 + 100 * n}}}, do: error, error: {{code: {code}}}}}"
        for n, code in enumerate(codes)
    )
    one = world(INTERRUPTED.replace("caller:", f"  faults: [{faults}]\ncaller:"))
    why = await play(one)

    assert why == CallerHungUp()
    assert set(codes) <= set(one.record.refused_orders)


@attrs.define
class Jitter:
    """A network's one-way time, drawn anew for every frame."""

    rng: Random
    from_ms: float
    mean_ms: float

    def __call__(self) -> int:
        return round(self.from_ms + self.rng.expovariate(1 / self.mean_ms))


def several_turns(rng: Random, turns: int) -> str:
    """A call in which every answer, of one to three items, is interrupted somewhere."""
    answers: list[str] = []
    steps: list[str] = []
    for _ in range(turns):
        says = ", ".join(
            '{say: "' + "x" * rng.randint(20, 80) + '"}' for _ in range(rng.randint(1, 3))
        )
        answers.append(f"    - {{items: [{says}], speed: {rng.uniform(3, 8):.2f}}}")
        after_ms = rng.randint(100, 2500)
        steps.append(f'  - {{wait: agent_speaking, after_ms: {after_ms}, say: "No."}}')
    answers.append('    - items: [{say: "Goodbye."}]')
    steps.append("  - {wait: agent_quiet, hang_up: true}")
    return "\n".join(["model:", "  answers:", *answers, "caller:", *steps])


@pytest.mark.parametrize("seed", range(12))
async def test_belief_and_truth_agree_through_many_barge_ins_on_a_jittery_line(
    seed: int, autojump_clock: trio.abc.Clock
) -> None:
    """The whole call, all actors: the ledger alone is measured in `test_heard`."""
    rng = Random(seed)
    delay: Callable[[], Jitter] = lambda: Jitter(rng, rng.uniform(25, 80), 6)  # noqa: E731
    one = world(
        several_turns(rng, 6),
        delays=Delays(delay(), delay(), delay(), delay()),
        seed=seed,
    )
    await play(one)

    believed_ms = sum(said.heard_ms or 0 for said in one.record.transcript if said.who == "agent")
    assert one.model.overlong_truncates == 0
    assert one.model.errors == []
    assert one.model.violations == []
    assert len(one.record.barge_ins) >= 3
    assert abs(believed_ms - one.line.heard_ms()) <= 40 * (len(one.record.barge_ins) + 1)


async def test_a_greeting_that_crosses_the_callers_first_word_is_not_played_over_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The order was on its way when the caller began: nothing of what comes is heard."""
    slow = Delays(40, 40, 300, 300)
    for seed in range(6):
        one = world(
            """
model:
  answers:
    - items: [{say: "A greeting that comes too late for anybody to hear any of it."}]
      after_ms: 20
    - items: [{say: "Yes, I am."}]
caller:
  - {wait_ms: 50, say: "Is anybody there, please?"}
  - {wait: agent_quiet, hang_up: true}
""",
            delays=slow,
            seed=seed,
        )
        await play(one)

        (spoke,) = [fact for fact in one.line.facts if isinstance(fact, Said)]
        assert all(heard.at_ms >= spoke.ended_ms for heard in one.line.heard())


async def test_a_greeting_obeyed_after_the_server_has_spoken_is_not_heard(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The order was slow; the server's own answer came and went, and greeted in its own way."""
    session = Scripted(
        SessionLive("s"),
        ResponseStarted("resp_1"),
        ResponseFinished("resp_1", "completed"),
        ResponseStarted("resp_2", "greeting", 1),
        ItemAudio("resp_2", "item_2", tone("too late")),
        ResponseFinished("resp_2", "cancelled", number=1),
    )
    one = world("caller: [{wait_ms: 3000, hang_up: true}]")
    one.session = session  # type: ignore[assignment]
    await play(one)

    assert one.line.heard_ms() == 0
    assert session.orders == [
        CreateResponse("greeting"),
        CancelResponse("resp_2"),
        DeleteItem("item_2"),
    ]


async def test_audio_of_a_finished_response_is_not_played_to_a_caller_who_speaks(
    autojump_clock: trio.abc.Clock,
) -> None:
    """It came behind the end of its response, and behind the caller's first word."""
    session = Scripted(
        SessionLive("s"),
        ResponseStarted("resp_1"),
        ResponseFinished("resp_1", "completed"),
        SpeechStarted("item_caller", 0),
        ItemAudio("resp_1", "item_1", tone("too late")),
        SpeechStopped("item_caller", 300),
        ResponseStarted("resp_2"),
        ItemAudio("resp_2", "item_2", tone("in time")),
        ResponseFinished("resp_2", "completed"),
    )
    one = world("caller: [{wait_ms: 4000, hang_up: true}]", greet=False)
    one.session = session  # type: ignore[assignment]
    await play(one)

    assert one.line.heard_ms() // 60 == len("in time")
    assert session.orders == [DeleteItem("item_1")]
