"""What a session is told of a conversation it was not there for, and how that is corrected."""

from __future__ import annotations

from typing import Any

import attrs
import orjson
import pytest
import trio

from actors.errors import PeerGone
from actors.messages import (
    LOCAL,
    AddText,
    AppendAudio,
    CallerTranscript,
    DeleteItem,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
    ResponseFinished,
    SessionFact,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolFinished,
    TruncateItem,
)
from actors.policy.floor import Floor
from actors.policy.memory import Memory
from actors.wire.openai_history import ID_MAX
from actors.wire.openai_session import SessionSettings
from gateway.session.rehearing import COMMIT_BYTES, Rehearing
from gateway.session.retelling import GOES_ON, Retelling

LONG_ID = "call_" + "x" * 40


@attrs.define(eq=False)
class Listener:
    """Stands for a session that is live and takes everything in; or is gone."""

    settings: SessionSettings = attrs.field(factory=lambda: SessionSettings("Be brief."))
    events: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    orders: list[SessionOrder] = attrs.field(factory=list[SessionOrder])
    is_gone: bool = False
    heard_s: float = 0.0

    async def run(self) -> None:
        await trio.sleep_forever()

    async def receive(self) -> SessionFact:
        await trio.sleep_forever()
        raise AssertionError("for ever")

    async def send(self, order: SessionOrder) -> None:
        await self._check()
        self.orders.append(order)

    async def send_event(self, text: str) -> None:
        await self._check()
        self.events.append(orjson.loads(text))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _check(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_gone:
            raise PeerGone("session", None, "gone")

    @property
    def heard_bytes(self) -> int:
        payloads = [order.payload for order in self.orders if isinstance(order, AppendAudio)]
        return sum(len(payload) * 3 // 4 - payload[-2:].count("=") for payload in payloads)

    @property
    def kinds(self) -> list[str]:
        """Orders by name, audio that follows on audio counted as one."""
        names = [type(order).__name__ for order in self.orders]
        return [name for name, before in zip(names, ["", *names], strict=False) if name != before]


def remembered(*messages: object) -> Memory:
    memory = Memory()
    for message in messages:
        memory.note(0, message)
    return memory


def says(item_id: str, text: str) -> list[object]:
    """A second of speech."""
    return [
        ItemTranscript(item_id, text),
        ItemAudio("resp_1", item_id, b"\x90" * 8000),
        ItemAudioDone("resp_1", item_id),
    ]


async def told(memory: Memory, floor: Floor | None = None) -> tuple[Retelling, Listener]:
    retelling, session = Retelling(memory), Listener()
    retelling.adopt(await retelling.tell(session, floor or Floor()))
    return retelling, session


CHAT = [
    *says("item_1", "Good morning to you."),
    CallerTranscript("item_2", "Where is my order?"),
    *says("item_3", "It is on its way to you."),
]


async def test_a_session_is_told_all_in_order_and_that_the_call_goes_on() -> None:
    _, session = await told(remembered(*CHAT))

    texts = [event["item"]["content"][0]["text"] for event in session.events]
    assert texts[:3] == ["Good morning to you.", "Where is my order?", "It is on its way to you."]
    assert texts[3] == GOES_ON
    assert [event["item"]["role"] for event in session.events] == [
        "assistant",
        "user",
        "assistant",
        "system",
    ]


async def test_before_the_agent_has_said_anything_nobody_is_told_that_the_call_goes_on() -> None:
    _, session = await told(remembered(AddText("system", "The caller is a customer.")))

    assert len(session.events) == 1


async def test_a_turn_that_the_session_is_going_to_hear_is_not_told_as_well() -> None:
    floor = Floor()
    floor.take(SpeechStarted("item_2", 0))
    _, session = await told(remembered(SpeechStarted("item_2", 0), *says("item_1", "Yes?")), floor)

    assert [event["item"]["role"] for event in session.events] == ["assistant", "system"]


async def test_an_item_of_an_earlier_session_that_is_cut_is_taken_back_and_told_shorter() -> None:
    retelling, session = await told(remembered(*CHAT))
    names = [event["item"]["id"] for event in session.events]
    session.events.clear()

    await retelling.amend(session, "item_3", TruncateItem("item_3", 500))

    deleted, created = session.events
    assert deleted == {"type": "conversation.item.delete", "item_id": names[2]}
    assert created["previous_item_id"] == names[1]
    assert created["item"]["id"] not in names
    words = created["item"]["content"][0]["text"]
    assert words
    assert "It is on its way to you.".startswith(words)
    assert words != "It is on its way to you."


async def test_an_item_that_was_cut_once_can_be_cut_again_and_then_deleted() -> None:
    retelling, session = await told(remembered(*CHAT))
    first = session.events[0]["item"]["id"]

    await retelling.amend(session, "item_1", TruncateItem("item_1", 700))
    await retelling.amend(session, "item_1", TruncateItem("item_1", 400))
    await retelling.amend(session, "item_1", DeleteItem("item_1"))
    await retelling.amend(session, "item_1", DeleteItem("item_1"))

    amends = session.events[4:]
    assert [event["type"].rpartition(".")[2] for event in amends] == [
        "delete",
        "create",
        "delete",
        "create",
        "delete",
    ]
    assert amends[0]["item_id"] == first
    assert amends[1]["previous_item_id"] == "root"
    assert amends[2]["item_id"] == amends[1]["item"]["id"]
    assert amends[4]["item_id"] == amends[3]["item"]["id"]


async def test_of_an_item_that_nothing_was_heard_of_nothing_is_left() -> None:
    retelling, session = await told(remembered(*CHAT))
    before = len(session.events)

    await retelling.amend(session, "item_3", TruncateItem("item_3", 0))

    assert [event["type"] for event in session.events[before:]] == ["conversation.item.delete"]


async def test_lines_of_our_own_and_items_of_the_session_are_told_apart() -> None:
    retelling, session = await told(remembered(*CHAT, *says(f"{LOCAL}1_item", "One moment.")))

    assert retelling.is_told("item_1")
    assert retelling.is_told(f"{LOCAL}1_item")
    assert not retelling.is_told("item_9")
    before = len(session.events)
    await retelling.amend(session, f"{LOCAL}1_item", DeleteItem(f"{LOCAL}1_item"))
    assert len(session.events) == before
    assert "One moment." not in str(session.events)


async def test_a_tool_that_still_runs_returns_its_output_under_the_id_that_was_told() -> None:
    asked = ResponseFinished(
        "resp_1", "completed", tool_calls=(ToolCall(LONG_ID, "look_up", "{}"),)
    )
    retelling, session = await told(remembered(asked))

    (event,) = session.events
    assert event["item"]["call_id"] == retelling.call_id(LONG_ID)
    assert len(retelling.call_id(LONG_ID)) <= ID_MAX
    assert not retelling.is_answered(LONG_ID)
    assert retelling.call_id("call_of_its_own" + "y" * 40) == "call_of_its_own" + "y" * 40


async def test_an_output_that_was_told_is_not_returned_again() -> None:
    asked = ResponseFinished("resp_1", "completed", tool_calls=(ToolCall("call_1", "x", "{}"),))
    done = ToolFinished("call_1", "x", "returned", "on its way")
    retelling, session = await told(remembered(asked, done))

    assert retelling.is_answered("call_1")
    assert [event["item"]["type"] for event in session.events] == [
        "function_call",
        "function_call_output",
    ]


async def test_a_session_that_is_gone_while_it_is_told_is_reported() -> None:
    retelling = Retelling(remembered(*CHAT))

    with pytest.raises(PeerGone):
        await retelling.tell(Listener(is_gone=True), Floor())


# The caller's own voice.

FRAME = "f39/" * 53 + "fw=="
"""20 ms of silence: 160 bytes."""
FRAMES_IN_S = 50


def spoken(rehearing: Rehearing, seconds: float) -> None:
    for _ in range(round(seconds * FRAMES_IN_S)):
        rehearing.add(FRAME)


async def test_where_the_session_listens_for_turns_the_end_of_the_audio_is_played_again() -> None:
    rehearing, session = Rehearing(), Listener()
    spoken(rehearing, 10)
    rehearing.sent()
    heard = await rehearing.play(session, Floor())

    assert session.heard_bytes == 8_000
    assert (heard.base_ms, heard.spliced_ms) == (9_000, 10_000)


async def test_what_a_session_did_not_take_is_played_again_however_long_ago_it_was() -> None:
    rehearing, session = Rehearing(), Listener()
    spoken(rehearing, 10)
    rehearing.sent()
    spoken(rehearing, 3)
    await rehearing.play(session, Floor())

    assert session.heard_bytes == 4 * 8_000


async def test_what_was_sent_since_the_last_sign_of_life_is_played_again() -> None:
    rehearing, session = Rehearing(), Listener()
    spoken(rehearing, 20)
    rehearing.sent()
    rehearing.lost(6.0)
    spoken(rehearing, 0.5)
    await rehearing.play(session, Floor())

    assert session.heard_bytes == 7.5 * 8_000


async def test_what_the_caller_had_said_to_its_end_is_not_played_again() -> None:
    rehearing, session, floor = Rehearing(), Listener(), Floor()
    spoken(rehearing, 20)
    floor.take(SpeechStopped("item_1", 16_000))
    rehearing.lost(float("inf"))
    await rehearing.play(session, floor)

    assert session.heard_bytes == 4 * 8_000


async def test_a_turn_that_nobody_understood_is_played_from_its_beginning() -> None:
    rehearing, session, floor = Rehearing(), Listener(), Floor()
    spoken(rehearing, 10)
    rehearing.sent()
    floor.take(SpeechStarted("item_1", 4_000))
    heard = await rehearing.play(session, floor)
    rehearing.adopt(heard)

    assert session.heard_bytes == 48_000
    assert heard.turns == ("item_1",)
    # What it calls its own is the turn that the call knows.
    assert rehearing.in_call(SpeechStarted("item_of_its_own", 300)) == SpeechStarted(
        "item_1", 4_300
    )
    assert rehearing.in_call(CallerTranscript("item_of_its_own", "Yes.")) == CallerTranscript(
        "item_1", "Yes."
    )
    assert not rehearing.give_up()


async def test_where_turns_are_committed_all_since_the_last_one_is_played_again() -> None:
    rehearing, session = Rehearing(commits_turns=True), Listener()
    spoken(rehearing, 5)
    rehearing.commit()
    rehearing.in_call(CallerTranscript("item_1", "The first."))
    spoken(rehearing, 20)
    heard = await rehearing.play(session, Floor())

    assert session.heard_bytes == 20 * 8_000
    assert session.kinds == ["AppendAudio"]
    assert heard.base_ms == 5_000


async def test_a_committed_turn_that_nobody_understood_is_committed_again_where_it_ended() -> None:
    rehearing, session = Rehearing(commits_turns=True), Listener()
    spoken(rehearing, 3)
    number = rehearing.commit()
    spoken(rehearing, 2)
    assert not rehearing.has_committed(number)
    rehearing.adopt(await rehearing.play(session, Floor()))

    assert session.kinds == ["AppendAudio", "CommitAudio", "AppendAudio"]
    assert session.heard_bytes == 5 * 8_000
    assert rehearing.has_committed(number)
    assert not rehearing.has_committed(number + 1)


async def test_of_a_turn_that_is_older_than_what_is_kept_its_end_is_played() -> None:
    rehearing, session = Rehearing(commits_turns=True), Listener()
    spoken(rehearing, 45)
    heard = await rehearing.play(session, Floor())

    assert session.heard_bytes == 30 * 8_000
    assert heard.base_ms == 15_000


async def test_a_turn_too_short_for_the_server_is_not_committed_again() -> None:
    rehearing, session = Rehearing(commits_turns=True), Listener()
    rehearing.add(FRAME)
    assert COMMIT_BYTES > 160
    rehearing.commit()
    spoken(rehearing, 1)
    await rehearing.play(session, Floor())

    assert session.kinds == ["AppendAudio"]
