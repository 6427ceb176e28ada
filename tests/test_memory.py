"""What is remembered of a call, and as what another session is told of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import (
    ConversationItemCreateEvent,
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
)

from actors.messages import (
    LOCAL,
    AddText,
    AgentSaid,
    BargedIn,
    CallerSaid,
    CallerTranscript,
    DeleteItem,
    ItemAudio,
    ItemAudioDone,
    ItemCut,
    ItemTranscript,
    PlayoutIdle,
    PlayoutStarted,
    Remembered,
    ResponseFinished,
    SessionLost,
    SpeechStarted,
    TextAdded,
    ToolAnswered,
    ToolAsked,
    ToolCall,
    ToolFinished,
    TruncateItem,
)
from actors.policy.memory import FORGOTTEN, Memory
from actors.wire.openai_history import ID_MAX, UNKNOWN_WORDS, create_item, short_call_id

SECOND = b"\x90" * 8000


def told(*messages: object, **bounds: int) -> Memory:
    memory = Memory(**bounds)
    for message in messages:
        memory.note(0, message)
    return memory


def agent_says(item_id: str, text: str, seconds: int = 1) -> list[object]:
    return [
        ItemTranscript(item_id, text),
        *(ItemAudio("r1", item_id, SECOND) for _ in range(seconds)),
        ItemAudioDone("r1", item_id),
    ]


def test_what_was_said_is_remembered_in_order() -> None:
    memory = told(
        *agent_says("a1", "Hello."),
        SpeechStarted("c1", 0),
        *agent_says("a2", "It is on its way."),
        CallerTranscript("c1", "Where is my order?"),  # Late, as transcripts are.
        AddText("user", "[The caller pressed 1.]"),
    )

    assert memory.items() == (
        AgentSaid("a1", "Hello."),
        CallerSaid("Where is my order?"),
        AgentSaid("a2", "It is on its way."),
        TextAdded("user", "[The caller pressed 1.]"),
    )


def test_of_what_was_cut_the_heard_words_are_remembered() -> None:
    memory = told(
        *agent_says("a1", "one two three four", 4), BargedIn((ItemCut("a1", 2000, 4000),))
    )

    assert memory.items() == (AgentSaid("a1", "one two"),)


def test_what_nobody_heard_is_not_remembered() -> None:
    memory = told(*agent_says("a1", "Never played."), DeleteItem("a1"))

    assert memory.items() == ()
    assert memory.agent_items() == {"a1"}


def test_what_a_truncate_says_counts() -> None:
    memory = told(*agent_says("a1", "one two three four", 4), TruncateItem("a1", 1000))

    assert memory.items() == (AgentSaid("a1", "one"),)


def test_words_that_ran_ahead_of_lost_audio_were_not_heard() -> None:
    """A second of it came: about 16 characters."""
    words = "This sentence is a good deal longer than what came of it."
    memory = told(ItemTranscript("a1", words), ItemAudio("r1", "a1", SECOND), SessionLost("broken"))

    assert memory.items() == (AgentSaid("a1", "This sentence is"),)
    assert memory.cut_off() == "This sentence is"


def test_what_was_said_to_its_end_is_not_cut_off() -> None:
    memory = told(*agent_says("a1", "Hello."), SessionLost("broken"))

    assert memory.cut_off() is None


def test_what_the_next_session_hears_itself_it_is_not_told() -> None:
    memory = told(SpeechStarted("c1", 0), SpeechStarted("c2", 9))

    assert memory.items(without=frozenset({"c2"})) == (CallerSaid(None),)


def test_a_tool_call_stands_with_its_output() -> None:
    asked = (ToolCall("t1", "look", "{}"), ToolCall("t2", "find", "{}"))
    memory = told(ResponseFinished("r1", "completed", None, asked))
    assert memory.tools_run

    memory.note(1, ToolFinished("t2", "find", "returned", "2"))
    memory.note(2, ToolFinished("t2", "find", "returned", "3"))

    assert memory.items() == (
        ToolAsked("t1", "look", "{}"),
        ToolAsked("t2", "find", "{}"),
        ToolAnswered("t2", "2"),
    )
    assert memory.tools_run


def test_lines_of_the_gateways_own_are_nobodys_words() -> None:
    memory = told(*agent_says(f"{LOCAL}1_item", "One moment, please."))

    assert memory.items() == ()


def test_it_knows_whether_the_caller_hears_something() -> None:
    memory = told(PlayoutStarted("a1", "r1"))
    assert memory.is_playing

    memory.note(1, PlayoutIdle(by_mark=True))
    assert not memory.is_playing


def test_of_a_very_long_call_the_beginning_is_forgotten_and_no_tool_that_runs() -> None:
    memory = told(
        ResponseFinished("r0", "completed", None, (ToolCall("t1", "look", "{}"),)),
        *(note for n in range(50) for note in agent_says(f"a{n}", f"{n:03} " * 10)),
        characters_max=400,
    )

    items = memory.items()

    assert items[0] == FORGOTTEN
    assert items[1] == ToolAsked("t1", "look", "{}")
    assert items[-1] == AgentSaid("a49", "049 " * 10)
    assert len(items) < 15


NOTES = st.one_of(
    st.builds(ItemTranscript, st.sampled_from(["a1", "a2", "x"]), st.text(max_size=20)),
    st.builds(ItemAudio, st.just("r"), st.sampled_from(["a1", "x"]), st.binary(max_size=99)),
    st.builds(CallerTranscript, st.sampled_from(["c1", "x"]), st.text(max_size=20)),
    st.builds(TruncateItem, st.sampled_from(["a1", "nobody"]), st.integers(-5, 99)),
    st.builds(DeleteItem, st.sampled_from(["a2", "nobody"])),
    st.builds(ToolFinished, st.just("t"), st.just("n"), st.just("returned"), st.text(max_size=9)),
    st.builds(AddText, st.just("user"), st.text(max_size=20)),
    st.just(ResponseFinished("r", "completed", None, (ToolCall("t", "n", "{}"),))),
    st.just(SessionLost("broken")),
    st.integers(),
)


@given(st.lists(NOTES, max_size=60))
def test_it_never_raises_and_never_grows_beyond_its_bound(notes: list[object]) -> None:
    memory = told(*notes, characters_max=60)

    for item in memory.items():
        create_item(item, "again_1")
    texts = [getattr(one, "text", "") or "" for one in memory.items() if one != FORGOTTEN]
    longest = max((len(text) for text in texts), default=0)
    assert sum(map(len, texts)) <= 60 + longest


SHAPES: list[tuple[Remembered, type[Any]]] = [
    (CallerSaid("Hello."), RealtimeConversationItemUserMessage),
    (CallerSaid(None), RealtimeConversationItemUserMessage),
    (AgentSaid("a1", "Hi."), RealtimeConversationItemAssistantMessage),
    (ToolAsked("t1", "look", "{}"), RealtimeConversationItemFunctionCall),
    (ToolAnswered("t1", "{}"), RealtimeConversationItemFunctionCallOutput),
    (TextAdded("system", "Go on."), RealtimeConversationItemSystemMessage),
]


@pytest.mark.parametrize(("remembered", "shape"), SHAPES)
def test_items_have_the_shape_of_the_official_sdk(remembered: Remembered, shape: type[Any]) -> None:
    event = orjson.loads(create_item(remembered, "again_1", "root"))

    assert event["previous_item_id"] == "root"
    assert set(event["item"]) <= set(shape.model_fields)
    assert isinstance(ConversationItemCreateEvent.model_validate(event).item, shape)


def test_the_agents_words_are_text_and_the_callers_too() -> None:
    agent = orjson.loads(create_item(AgentSaid("a1", "Hi."), "again_1"))
    caller = orjson.loads(create_item(CallerSaid(None), "again_2"))

    assert agent["item"]["content"] == [{"type": "output_text", "text": "Hi."}]
    assert caller["item"]["content"] == [{"type": "input_text", "text": UNKNOWN_WORDS}]
    assert "previous_item_id" not in agent


def test_a_call_id_that_is_too_long_for_a_client_gets_a_short_one() -> None:
    long = "call_" + "x" * 60
    asked = orjson.loads(create_item(ToolAsked(long, "look", "{}"), "again_1"))
    answered = orjson.loads(create_item(ToolAnswered(long, "{}"), "again_2"))

    assert len(asked["item"]["call_id"]) <= ID_MAX
    assert asked["item"]["call_id"] == answered["item"]["call_id"] == short_call_id(long)
    assert short_call_id("call_1") == "call_1"
